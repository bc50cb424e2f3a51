"""One example of a record, ready to draw: plain arrays of its real tokens, found by label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.errors import FigureError, did_you_mean
from clsight.figures.labels import literal
from clsight.records.checking import STACK_DIMS, need
from clsight.schema import DIRECTIONS, Direction


@dataclass(frozen=True)
class View:
    """The CLS weights of one example, padding left out.

    Args:
        weights: float32 [layer, head, token]; NaN where a token has no query.
        layers: Layer labels.
        heads: Head labels.
        layer_names: Module paths of the layers, as a figure shows them.
        plain: Token texts; kind and position where there is no text.
        cls: Position of [CLS] among the tokens.
        cells: int [token, 2], row and column of each patch, -1 for other tokens; None without patches.
        direction: The CLS row or column.
    """

    weights: NDArray[np.float32]
    layers: list[int]
    heads: list[int]
    layer_names: list[str]
    plain: list[str]
    cls: int
    cells: NDArray[np.int64] | None
    direction: Direction

    def of(self, layer: int, head: int, *, asked_by: str) -> NDArray[np.float32]:
        """Return the weights [token] of one layer and head, given by label."""
        row = one_of(self.layers, layer, "layer", asked_by=asked_by)
        column = one_of(self.heads, head, "head", asked_by=asked_by)
        weights: NDArray[np.float32] = self.weights[row, column]
        return weights

    @property
    def tokens(self) -> list[str]:
        """The token texts with markup escaped, as a figure takes them."""
        return [literal(text) for text in self.plain]


def view_of(
    record: xr.Dataset, *, sample: int, direction: Direction, strategy: Any = None, asked_by: str
) -> View:
    """Return one example of a record.

    Args:
        record: A plain record; of a stacked one, `strategy` picks a member.
        sample: Label on the `sample` dim (0 is the first example of a fresh record).
        direction: `attends_to` or `attended_by`.
        strategy: Label on the `strategy` dim of a stacked record.
        asked_by: The figure; the subject of messages.

    Raises:
        FigureError: If sample, strategy or direction is not there, or another stacked dim is left.
        RecordError: If the record lacks the weights.
    """
    check_direction(direction, asked_by=asked_by)
    weights = _member(need(record, direction, asked_by=asked_by), strategy, asked_by=asked_by)
    picked = {name: _sample(need(record, name, asked_by=asked_by), sample, asked_by) for name in _TOKEN_NAMES}
    real = np.flatnonzero(picked["token_mask"])
    weights = _with_dims(xr.DataArray(weights), sample, asked_by)
    texts, kinds = picked["token_text"][real].tolist(), picked["token_kind"][real].tolist()
    cells = None
    if "row" in record.variables and "column" in record.variables:
        places = [_sample(record[name], sample, asked_by)[real] for name in ("row", "column")]
        cells = np.stack(places, axis=1).astype(np.int64)
    return View(
        weights=weights.values[:, :, real].astype(np.float32),
        layers=weights["layer"].values.tolist(),
        heads=weights["head"].values.tolist(),
        layer_names=[literal(str(name)) for name in np.atleast_1d(record["layer_name"].values)],
        plain=[text or f"{kind} {position}" for text, kind, position in zip(texts, kinds, real, strict=True)],
        cls=int(np.searchsorted(real, _cls_position(record, sample, asked_by))),
        cells=cells if cells is not None and (cells >= 0).any() else None,
        direction=direction,
    )


def _cls_position(record: xr.Dataset, sample: int, asked_by: str) -> int:
    """Return where [CLS] stands in one sample; 0 if the record does not say."""
    if "cls_position" in record.variables:
        return int(_sample(record["cls_position"], sample, asked_by))
    return int(record.attrs.get("cls_index", 0))


_TOKEN_NAMES = ("token_mask", "token_text", "token_kind")


def check_direction(direction: str, *, asked_by: str) -> None:
    """Raise unless the direction is known."""
    if direction not in DIRECTIONS:
        raise FigureError(
            asked_by,
            expected="a known `direction`",
            got=repr(direction),
            next_step=did_you_mean(str(direction), DIRECTIONS),
        )


def one_of(labels: list[Any], label: Any, dim: str, *, asked_by: str) -> int:
    """Return the position of a label, or say which there are."""
    if label in labels and not isinstance(label, bool):
        return labels.index(label)
    numbers = all(isinstance(each, int) for each in labels)
    listed = f"{labels[0]} to {labels[-1]}" if numbers and len(labels) > 2 else ", ".join(map(str, labels))
    raise FigureError(
        asked_by,
        expected=f"a `{dim}` of the record: {listed}",
        got=repr(label),
        next_step="Choose one of these" if numbers else did_you_mean(str(label), map(str, labels)),
    )


def _member(weights: xr.DataArray, strategy: Any, *, asked_by: str) -> xr.DataArray:
    if "strategy" in weights.dims:
        labels = weights["strategy"].values.tolist()
        weights = weights.isel(strategy=one_of(labels, strategy, "strategy", asked_by=asked_by))
    elif strategy is not None and strategy != _scalar(weights, "strategy"):
        raise FigureError(
            asked_by,
            expected="no `strategy`, as the record is not stacked",
            got=repr(strategy),
            next_step="Leave it out, or stack records: clsight.stack({...})",
        )
    left = [dim for dim in STACK_DIMS if dim in weights.dims]
    if left:
        raise FigureError(
            asked_by,
            expected="a record of one model",
            got=f"one with several along `{left[0]}`",
            next_step=f"Select one first: record.sel({left[0]}=...)",
        )
    return weights


def _scalar(array: xr.DataArray, name: str) -> Any:
    return array[name].values.tolist() if name in array.coords else None


def _sample(array: xr.DataArray, sample: int, asked_by: str) -> NDArray[Any]:
    """Return the values of one sample; an array without the dim belongs to a sample already selected."""
    if "sample" not in array.dims:
        return np.asarray(array.values)
    labels = array["sample"].values.tolist()
    return np.asarray(array.isel(sample=one_of(labels, sample, "sample", asked_by=asked_by)).values)


def _with_dims(weights: xr.DataArray, sample: int, asked_by: str) -> xr.DataArray:
    """Return weights [layer, head, token], with dims that were selected down to one label put back."""
    if "sample" in weights.dims:
        labels = weights["sample"].values.tolist()
        weights = weights.isel(sample=one_of(labels, sample, "sample", asked_by=asked_by))
    for dim in ("layer", "head"):
        if dim not in weights.dims:
            weights = weights.expand_dims(dim)
    return weights.transpose("layer", "head", "token")
