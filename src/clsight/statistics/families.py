"""Many tests at once: p-values adjusted for a family, by Holm or by Benjamini and Hochberg."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from clsight.errors import StatisticsError
from clsight.statistics.cells import dims_of, numbers


def holm(p_values: xr.DataArray, over: str | Sequence[str] | None = None) -> xr.DataArray:
    """Return p-values adjusted by Holm's step-down rule.

    If those at or below a level are called found, the chance of any false one is at most that level. The i-th
    smallest of m becomes the largest of (m − j + 1)·p_j over j ≤ i, at most 1 (Holm 1979).

    Args:
        p_values: In [0, 1], any dims. NaN stays NaN and is not counted.
        over: Dims that form a family; each cell of the others is a family of its own. By default all dims.

    Returns:
        As `p_values`; never smaller than them. The attribute `n` is the size of the largest family.

    Raises:
        StatisticsError: If the values are no p-values, or have no such dim.
    """
    return _adjusted(p_values, over, _holm, asked_by="holm")


def benjamini_hochberg(p_values: xr.DataArray, over: str | Sequence[str] | None = None) -> xr.DataArray:
    """Return p-values adjusted by Benjamini and Hochberg (1995).

    Of those at or below q, a share of at most q is expected to be false, for tests that are independent or
    positively dependent. The i-th smallest of m becomes the smallest of m/j·p_j over j ≥ i, at most 1.

    Args:
        p_values: In [0, 1], any dims. NaN stays NaN and is not counted.
        over: Dims that form a family; each cell of the others is a family of its own. By default all dims.

    Returns:
        As `p_values`; between them and Holm's. The attribute `n` is the size of the largest family.

    Raises:
        StatisticsError: If the values are no p-values, or have no such dim.
    """
    return _adjusted(p_values, over, stats.false_discovery_control, asked_by="benjamini_hochberg")


def _adjusted(
    p_values: Any,
    over: str | Sequence[str] | None,
    rule: Callable[[np.ndarray], np.ndarray],
    *,
    asked_by: str,
) -> xr.DataArray:
    """Return the p-values after a rule for one family without NaN, applied to each family."""
    numbers(p_values, asked_by=asked_by)
    if outside := int(((p_values < 0) | (p_values > 1)).sum()):
        raise StatisticsError(
            asked_by,
            expected="p-values from 0 to 1",
            got=f"{outside} of {p_values.size} outside",
            next_step="Give the variable `p_value` of a result",
        )
    dims = tuple(map(str, p_values.dims)) if over is None else dims_of(p_values, over, asked_by=asked_by)
    adjusted: xr.DataArray = xr.apply_ufunc(
        lambda family: _without_nan(family, rule, len(dims)),
        p_values.astype(np.float64),
        input_core_dims=[dims],
        output_core_dims=[dims],
    ).transpose(*p_values.dims)
    missing = int(p_values.isnull().sum())
    adjusted.attrs = {
        "result": asked_by,
        "method": "Holm" if asked_by == "holm" else "Benjamini and Hochberg",
        "over": list(dims),
        "n": int(p_values.count(dims).max()) if p_values.size else 0,
        "reason": f"{missing} of {p_values.size} p-values are NaN and not counted" if missing else "",
    }
    return adjusted


def _without_nan(p_values: np.ndarray, rule: Callable[[np.ndarray], np.ndarray], dims: int) -> np.ndarray:
    """Return a rule applied to what is not NaN along the last `dims` axes."""
    families = p_values.reshape(*p_values.shape[: p_values.ndim - dims], -1).copy()
    for index in np.ndindex(families.shape[:-1]):
        family = families[index]
        there = ~np.isnan(family)
        if there.any():
            family[there] = rule(family[there])
    return families.reshape(p_values.shape)


def _holm(p_values: np.ndarray) -> np.ndarray:
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted
