"""How far the color scale of weights reaches, so that one large weight does not hide all others."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.analysis.weights import is_cls, weights_of
from clsight.errors import FigureError
from clsight.figures.view import check_direction
from clsight.schema import Direction

_FEW = 200
_QUANTILE = 0.995
_SMALLEST = 1e-6


def color_limit(record: xr.Dataset, *, direction: Direction = "attends_to") -> float:
    """Return one upper end of the color scale for all figures of a record, to be passed as their `zmax`.

    [CLS]'s own entry is left out, since it is often much larger than the rest; of many weights the largest
    0.5 % are left out too. What lies above is drawn in the last color, and the color bar says so.

    Args:
        record: A plain or stacked record, or a selection of it: the limit covers all that is in it.
        direction: `attends_to` or `attended_by`.

    Returns:
        A weight in (0, 1].
    """
    check_direction(direction, asked_by="color_limit")
    weights = weights_of(record, direction, asked_by="color_limit")
    others = weights.where(~is_cls(record, asked_by="color_limit"))
    return _limit((others if weights.sizes["token"] > 1 else weights).values)


def limit_of(weights: NDArray[np.floating], cls: int) -> float:
    """Return the upper end of the color scale for weights [..., token], if possible without [CLS]."""
    return _limit(np.delete(weights, cls, axis=-1) if weights.shape[-1] > 1 else weights)


def _limit(weights: NDArray[np.floating]) -> float:
    """Return the upper end of the color scale for weights; NaN does not count."""
    values = weights[np.isfinite(weights)]
    if not values.size:
        return 1.0
    largest = np.quantile(values, _QUANTILE) if values.size > _FEW else values.max()
    return max(float(largest), _SMALLEST)


def checked_limit(zmax: float | None, *, asked_by: str) -> float | None:
    """Return `zmax` if it can end a color scale that starts at 0."""
    if zmax is not None and not (np.isfinite(zmax) and zmax > 0):
        raise FigureError(
            asked_by,
            expected="a positive `zmax`",
            got=repr(zmax),
            next_step="Take it from clsight.figures.color_limit(record), or leave it out",
        )
    return zmax
