"""Record what CLS sees over a data set, batch by batch, in constant memory: `clsight.capture_batches`."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from clsight.hooks.single_call import capture

if TYPE_CHECKING:
    from clsight.loading import Subject


def capture_batches(
    module_or_subject: "nn.Module | Subject",
    batches: Iterable[Any],
    *,
    progress: bool = True,
    **options: Any,
) -> Iterator[xr.Dataset]:
    """Yield the record of each batch as soon as it has run; nothing of earlier batches is held.

    Args:
        module_or_subject: As for `clsight.capture`.
        batches: The inputs of one call each, such as a `DataLoader`; read one at a time.
        progress: Show a progress bar on the error stream.
        options: Keyword arguments of `clsight.capture`. `cls_index` and `token_mask` may be functions of the
            batch, such as `lambda batch: batch["attention_mask"].sum(-1) - 1`.

    Yields:
        One record per batch, its samples numbered from 0; `clsight.concat` joins them.

    Raises:
        CaptureError: As `clsight.capture`, on the batch that fails.

    Example:
        >>> import torch
        >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> model = torch.nn.TransformerEncoder(layer, 3)
        >>> batches = (torch.randn(4, 5, 8) for _ in range(3))
        >>> [record.sizes["sample"] for record in capture_batches(model, batches, progress=False)]
        [4, 4, 4]
    """
    for batch in tqdm(batches, desc="capture", unit="batch", disable=not progress):
        own = {
            name: options[name](batch) for name in ("cls_index", "token_mask") if callable(options.get(name))
        }
        yield capture(module_or_subject, batch, **{**options, **own})
