"""How far do paired differences spread? What a pilot of few seeds says, and how large it may really be."""

import numpy as np
import xarray as xr
from scipy import stats

from clsight.statistics.cells import are_alike, joined, missing_in, used_of
from clsight.statistics.pairs import paired_differences
from clsight.statistics.settings import fraction


def spread_of_pairs(
    a: xr.DataArray, b: xr.DataArray, over: str = "seed", *, confidence: float = 0.8, skipna: bool = False
) -> xr.Dataset:
    """Return the standard deviation of a − b, and its one-sided upper limit for normal differences.

    s·√((n − 1)/χ²), χ² the (1 − confidence) quantile with n − 1 degrees of freedom. To plan with the limit
    instead of s makes up for a small pilot (Browne 1995, Statistics in Medicine 14).

    Args:
        a: Values with the dim `over`.
        b: Values with the same labels of `over`: the other arm.
        over: The dim of the pairs: the pilot's seeds.
        confidence: That the true spread is not above `high`.
        skipna: Leave out pairs with NaN. Otherwise a cell with NaN has no result.

    Returns:
        `estimate` and `high` in the unit of the values, `n` (pairs used) and `reason`. NaN with fewer than
        two pairs, or if all differences are the same.

    Raises:
        StatisticsError: If values, labels or settings are not as above.
    """
    asked_by = "spread_of_pairs"
    fraction(confidence, "confidence", asked_by=asked_by)
    cells, rounding = paired_differences(a, b, over, asked_by=asked_by)
    used = used_of(cells.rows, skipna=skipna)
    estimate, high = (np.full(len(cells.rows), np.nan) for _ in range(2))
    reasons = []
    for cell, (row, use, off) in enumerate(zip(cells.rows, used, rounding, strict=True)):
        kept = row[use]
        about = _about(kept, off)
        if kept.size and not about:
            freedom = kept.size - 1
            estimate[cell] = kept.std(ddof=1)
            high[cell] = estimate[cell] * np.sqrt(freedom / stats.chi2.ppf(1 - confidence, freedom))
        reasons.append(joined(missing_in(row, "pairs", skipna=skipna), about))
    columns = {"estimate": estimate, "high": high, "n": used.sum(1)}
    return cells.dataset(
        columns, reasons, result=asked_by, method="chi-square, normal differences", confidence=confidence
    )


def _about(differences: np.ndarray, rounding: float) -> str:
    """Return why differences have no spread; nothing if they have, or if none is left."""
    if differences.size == 1:
        return "one pair alone has no spread"
    if differences.size and are_alike(differences, rounding):
        return f"all {differences.size} differences are the same"
    return ""
