"""The tracked numbers as TensorBoard scalars, where TensorBoard is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import xarray as xr

from clsight.analysis import MEASURES
from clsight.loading.optional_libraries import needing

FOLDER: Final = "tensorboard"
_MEASURES: Final = ("entropy", "cls_self_attention", "mean_attended_by")


class TensorBoard:
    """A writer of scalars: means over samples and heads of each layer, and what the training told.

    Args:
        folder: The folder of the training record; event files go into `tensorboard` in it.
        purge_after: Step after which TensorBoard hides what an interrupted training wrote; None: nothing.

    Raises:
        CheckpointError: If TensorBoard is not installed or does not import.
    """

    def __init__(self, folder: Path, *, purge_after: int | None) -> None:
        with needing("tensorboard", extra="tensorboard"):
            from torch.utils.tensorboard import SummaryWriter
        purge = None if purge_after is None else purge_after + 1
        self._writer: Any = SummaryWriter(str(folder / FOLDER), purge_step=purge)

    def write(self, step: int, record: xr.Dataset, scalars: dict[str, float]) -> None:
        """Write one step, so that it shows at once."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        for name in _MEASURES:
            if MEASURES[name].missing_from(record):
                continue
            means = MEASURES[name].function(record).mean(["sample", "head"]).values
            for layer, mean in zip(record["layer_name"].values, means, strict=True):
                self._writer.add_scalar(f"CLS {name}/{layer}", float(mean), step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def is_installed() -> bool:
    """Tell whether TensorBoard is there."""
    return find_spec("tensorboard") is not None
