"""Differences of pairs: two labeled arrays matched by label, never by chance."""

from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from clsight.errors import StatisticsError
from clsight.statistics.cells import Cells, cells_of, dims_of, numbers

_SHOWN: Final = 5
"""Most labels that a message lists."""


def paired_differences(a: Any, b: Any, over: str, *, asked_by: str) -> tuple[Cells, np.ndarray]:
    """Return a − b, and how far rounding may have put each difference off.

    Args:
        a: Values with the dim `over`.
        b: Values with the dim `over` and the same labels on every shared dim, in any order. A dim that one of
            the two lacks is compared throughout.
        over: The dim of the pairs.
        asked_by: Subject of messages.

    Returns:
        The differences by cell, and per cell an absolute bound on the rounding of one of them.

    Raises:
        StatisticsError: If one is no DataArray of numbers, lacks `over`, or has other labels or sizes.
    """
    a, b = numbers(a, asked_by=asked_by), numbers(b, asked_by=asked_by)
    for values in (a, b):
        dims_of(values, over, asked_by=asked_by, most=1)
    for dim in a.dims:
        if dim in b.dims:
            b = _matched(a, b, str(dim), asked_by=asked_by)
    unit = max(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps for x in (a, b))
    words = {"units": a.attrs.get("units", ""), "long_name": a.attrs.get("long_name", "")}
    a, b = a.astype(np.float64), b.astype(np.float64)
    difference = (a - b).rename(a.name if a.name == b.name else None)
    largest = cells_of((abs(a) + abs(b)).transpose(*difference.dims), (over,)).rows
    difference.attrs = {key: word for key, word in words.items() if word}
    return cells_of(difference, (over,)), float(unit) * np.nanmax(largest, axis=1, initial=0.0)


def _matched(a: xr.DataArray, b: xr.DataArray, dim: str, *, asked_by: str) -> xr.DataArray:
    """Return `b` in the order of the labels of `a`; by position where one of the two has no labels."""
    if a.sizes[dim] != b.sizes[dim]:
        raise StatisticsError(
            asked_by,
            expected=f"as many labels of `{dim}` in both",
            got=f"{dim}={a.sizes[dim]} and {dim}={b.sizes[dim]}",
            next_step=f"Keep what both have: xarray.align(a, b, join={'inner'!r})",
        )
    if dim not in a.indexes or dim not in b.indexes or a.indexes[dim].equals(b.indexes[dim]):
        return b
    first, second = a.indexes[dim], b.indexes[dim]
    if first.is_unique and second.is_unique and first.isin(second).all():
        return b.sel({dim: first})
    raise StatisticsError(
        asked_by,
        expected=f"the same labels of `{dim}` in both, each once",
        got=f"{_listed(first)} and {_listed(second)}",
        next_step=f"Keep what both have: xarray.align(a, b, join={'inner'!r})",
    )


def _listed(labels: pd.Index) -> str:
    shown = ", ".join(map(str, labels[:_SHOWN]))
    return f"({shown}{', …' if len(labels) > _SHOWN else ''})"
