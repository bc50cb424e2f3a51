"""Labeled values as rows of numbers, one per cell of the remaining dims, and numbers as labeled results."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from clsight.errors import StatisticsError, did_you_mean


@dataclass(frozen=True)
class Cells:
    """Values as rows of float64, and the labels of the dims that remain.

    Attributes:
        rows: [cell], then an axis for each dim of the units.
        over: The dims of the units; none if every value is a cell.
        dims: The remaining dims; their cells lie in this order, the last one fastest.
        shape: Sizes of the remaining dims.
        coords: Every coordinate without a dim of the units.
        words: `name`, `long_name` and `units` of the values, those that there are.
    """

    rows: np.ndarray
    over: tuple[str, ...]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: Mapping[Any, xr.DataArray]
    words: Mapping[str, str]

    def dataset(self, columns: Mapping[str, Any], reasons: Sequence[str], **attributes: Any) -> xr.Dataset:
        """Return one variable per column and `reason`, with the remaining dims and their labels.

        Args:
            columns: Each a number or text per cell.
            reasons: Per cell, what the reader must know of its numbers; empty if nothing.
            **attributes: Attributes of the result, beside `over`, `n` (units, NaN included) and `reason`.
        """
        texts = {name for name, column in columns.items() if np.asarray(column).dtype.kind in "UTO"}
        variables = {
            name: (
                self.dims,
                np.asarray(column, StringDType() if name in texts else None).reshape(self.shape),
            )
            for name, column in {**columns, "reason": np.array(reasons, StringDType())}.items()
        }
        result = xr.Dataset(variables, coords=self.coords)
        sizes = self.rows.shape[1:]
        units = {"over": list(self.over), "n": sizes[0] if len(sizes) == 1 else list(sizes)} if sizes else {}
        result.attrs = {**self.words, **attributes, **units, "reason": summary_of(reasons)}
        return result


def cells_of(values: xr.DataArray, over: Sequence[str]) -> Cells:
    """Return the values as one row of float64 per cell of the dims that are not in `over`."""
    dims = tuple(str(dim) for dim in values.dims if dim not in over)
    sizes = tuple(values.sizes[dim] for dim in over)
    shape = tuple(values.sizes[dim] for dim in dims)
    rows = values.transpose(*dims, *over).values.astype(np.float64).reshape(math.prod(shape), *sizes)
    coords = {name: coord for name, coord in values.coords.items() if not set(coord.dims) & set(over)}
    words = {"name": values.name, **{key: values.attrs.get(key) for key in ("long_name", "units")}}
    told = {key: str(word) for key, word in words.items() if word}
    return Cells(rows, tuple(over), dims, shape, coords, told)


def numbers(values: Any, *, asked_by: str) -> xr.DataArray:
    """Return the values if they are labeled numbers, finite or NaN.

    Raises:
        StatisticsError: If they are no DataArray, no real numbers, or infinite somewhere.
    """
    if not isinstance(values, xr.DataArray):
        raise StatisticsError(
            asked_by,
            expected="labeled values, an xarray.DataArray",
            got=f"an object of type {type(values).__name__}",
            next_step="Give a measure of a record, or label the numbers: xr.DataArray(numbers, dims=[...])",
        )
    if values.dtype.kind not in "biuf":
        raise StatisticsError(
            asked_by,
            expected="real numbers",
            got=f"values of type {values.dtype}",
            next_step="Give a variable that holds numbers",
        )
    if infinite := int(np.isinf(values.values).sum()):
        raise StatisticsError(
            asked_by,
            expected="finite numbers, or NaN where there is none",
            got=f"{infinite} infinite of {values.size}",
            next_step="Mark what diverged as NaN: values.where(np.isfinite(values))",
        )
    return values


def dims_of(
    values: xr.DataArray, over: str | Sequence[str], *, asked_by: str, most: int | None = None
) -> tuple[str, ...]:
    """Return the names in `over`, each a dim of the values.

    Raises:
        StatisticsError: If there is none, one twice, more than `most`, or one that the values do not have.
    """
    names = (over,) if isinstance(over, str) else tuple(over)
    for name in names:
        if name not in values.dims:
            raise StatisticsError(
                asked_by,
                expected=f"`over` among the dims ({', '.join(map(str, values.dims))})",
                got=repr(name),
                next_step=did_you_mean(str(name), map(str, values.dims)),
            )
    if not names or len(set(names)) < len(names) or (most and len(names) > most):
        raise StatisticsError(
            asked_by,
            expected="`over` as " + ("one dim" if most == 1 else f"different dims, 1 to {most or 'all'}"),
            got=repr(over),
            next_step="Average over further dims first: values.mean(...)",
        )
    return names


def summary_of(reasons: Sequence[str]) -> str:
    """Return each reason once, and in how many cells it holds if there are several."""
    counts = Counter(reason for reason in reasons if reason)
    if len(reasons) == 1:
        return "".join(counts)
    return "; ".join(f"{count} of {len(reasons)} cells: {reason}" for reason, count in counts.items())


def used_of(rows: np.ndarray, *, skipna: bool) -> np.ndarray:
    """Return which values of each cell count: those that are not NaN, or none where one is NaN."""
    there: np.ndarray = ~np.isnan(rows)
    return there if skipna else there & there.all(tuple(range(1, there.ndim)), keepdims=True)


def patterns_of(used: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions of at most so many cells that use the same units, and a mask of those units.

    Args:
        used: [cell, unit]; a cell that uses none is left out.
        most: How many cells at once.
    """
    for pattern in np.unique(used, axis=0) if used.size else ():
        members = np.flatnonzero((used == pattern).all(-1)) if pattern.any() else ()
        for start in range(0, len(members), most):
            yield np.asarray(members[start : start + most]), pattern


def missing_in(row: np.ndarray, noun: str, *, skipna: bool) -> str:
    """Return what is to be said about a cell that is empty or has NaN; nothing about others."""
    if not row.size:
        return f"there are no {noun}"
    missing = int(np.isnan(row).sum())
    if not missing:
        return ""
    told = f"{missing} of {row.size} {noun} {'is' if missing == 1 else 'are'} NaN"
    return (
        f"{told} and left out"
        if skipna
        else f"{told}; skipna=True leaves {'it' if missing == 1 else 'them'} out"
    )


def are_alike(row: np.ndarray, rounding: float = 0.0) -> bool:
    """Return whether values differ by no more than rounding, so that their spread means nothing.

    Args:
        row: Values, none of them NaN.
        rounding: How far one value may be off; at least 32 units in the last place of the largest.
    """
    if not row.size:
        return True
    tolerance = max(2 * rounding, 64 * np.finfo(np.float64).eps * float(np.abs(row).max()))
    return float(np.ptp(row)) <= tolerance


def joined(*reasons: str) -> str:
    """Return the reasons that say something, as one text."""
    return "; ".join(reason for reason in reasons if reason)
