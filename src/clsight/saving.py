"""Writing clsight's model folders, whole or not at all; `clsight.checkpoints` reads them."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import numpy as safetensors_numpy
from safetensors import torch as safetensors_torch

from clsight import __version__
from clsight.checkpoints import (
    CONFIG_FILE,
    EXAMPLES_FILE,
    FORMAT,
    FORMAT_VERSION,
    WEIGHTS_FILE,
    check_classes,
)
from clsight.errors import CheckpointError
from clsight.models import ClassificationTransformer


@contextmanager
def replacing_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `path` to fill; it takes that name when the block ends without an error.

    Args:
        path: The folder to make.
        overwrite: Replace what is there, if it is a clsight model folder.

    Raises:
        CheckpointError: If something is there that may not be replaced; nothing is touched then.
    """
    path = Path(path)
    _check_free(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        yield folder
        _check_free(path, overwrite)
        if path.exists():
            path.rename(Path(scratch) / "old")  # goes with the scratch folder
        folder.rename(path)


def save_model(
    model: ClassificationTransformer,
    path: str | Path,
    *,
    classes: tuple[str, ...] | None = None,
    arrays: Mapping[str, np.ndarray[Any, Any]] | None = None,
    overwrite: bool = False,
) -> None:
    """Save a model as a folder, whole or not at all.

    Args:
        model: The model; its weights are written as they are, on any device.
        path: The folder to make.
        classes: A name per class; by default the class numbers.
        arrays: Examples to ship with it: `inputs` [sample, ...], and, if known, `labels`, `token_mask`.
        overwrite: Replace a clsight model folder of that name.

    Raises:
        CheckpointError: If `path` exists and may not be replaced, or there is not one name per class.
    """
    with replacing_folder(path, overwrite=overwrite) as folder:
        write_model(model, folder, classes=classes, arrays=arrays)


def write_model(
    model: ClassificationTransformer,
    folder: Path,
    *,
    classes: tuple[str, ...] | None = None,
    arrays: Mapping[str, np.ndarray[Any, Any]] | None = None,
) -> None:
    """Write a model's files into an existing folder, such as the one `replacing_folder` gives."""
    names = classes if classes is not None else tuple(str(number) for number in range(model.config.classes))
    check_classes(names, model.config.classes, folder / CONFIG_FILE)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    data = safetensors_torch.save(weights)
    settings = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "clsight_version": __version__,
        "weights_sha256": hashlib.sha256(data).hexdigest(),
        "classes": list(names),
        "model": model.config.to_dict(),
    }
    (folder / WEIGHTS_FILE).write_bytes(data)
    if arrays is not None:
        (folder / EXAMPLES_FILE).write_bytes(safetensors_numpy.save(dict(arrays)))
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _check_free(path: Path, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    ours = path.is_dir() and not path.is_symlink() and (path / CONFIG_FILE).is_file()
    if not (overwrite and ours):
        got = "a clsight model folder" if ours else "something else of that name"
        step = "Choose another name, or pass `overwrite=True`" if ours else "Choose another name"
        raise CheckpointError(str(path), expected="a free name to save to", got=got, next_step=step)
