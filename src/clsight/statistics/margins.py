"""Are two arms as good as the same? Equivalence within a declared margin, by two one-sided t-tests."""

from typing import Final

import numpy as np
import xarray as xr
from scipy import stats

from clsight.statistics.cells import are_alike, joined, missing_in, patterns_of, used_of
from clsight.statistics.draws import BLOCK
from clsight.statistics.pairs import paired_differences
from clsight.statistics.settings import fraction, positive

VERDICTS: Final = ("equivalent", "different", "inconclusive")


def equivalence(
    a: xr.DataArray,
    b: xr.DataArray,
    over: str = "seed",
    *,
    margin: float,
    level: float = 0.05,
    skipna: bool = False,
) -> xr.Dataset:
    """Return whether the mean paired difference lies within ±margin, for each remaining cell.

    Two one-sided t-tests of a − b (Schuirmann 1987). `equivalent`: both reject at `level`; the interval of
    confidence 1 − 2·level lies within the margin. Else `different`: a two-sided t-test rejects zero. Else
    `inconclusive`, which speaks for neither. For small n the differences should be near normal.

    Args:
        a: Values with the dim `over`.
        b: Values with the same labels of `over`: the other arm.
        over: The dim of the pairs: training seeds.
        margin: Largest difference that does not matter, in the unit of the values; declared beforehand.
        level: Below 0.5.
        skipna: Leave out pairs with NaN. Otherwise a cell with NaN is inconclusive.

    Returns:
        `estimate` (mean of a − b), `low` and `high` (confidence 1 − 2·level), `p_value` (the larger of the
        one-sided), `p_difference` (two-sided, of zero), `verdict`, `n` (pairs used) and `reason`. NaN and
        inconclusive with fewer than two pairs, or if all differences are the same.

    Raises:
        StatisticsError: If values, labels or settings are not as above.
    """
    asked_by = "equivalence"
    margin = positive(margin, "margin", asked_by=asked_by)
    level = fraction(level, "level", asked_by=asked_by, below=0.5)
    cells, rounding = paired_differences(a, b, over, asked_by=asked_by)
    used = used_of(cells.rows, skipna=skipna)
    columns = {name: np.full(len(cells.rows), np.nan) for name in _NUMBERS}
    for members, pattern in patterns_of(used, BLOCK):
        kept = cells.rows[members][:, pattern]
        alike = [are_alike(row, off) for row, off in zip(kept, rounding[members], strict=True)]
        for name, column in _t_tests(kept, np.array(alike), margin, level).items():
            columns[name][members] = column
    verdicts = [_verdict(*p, level) for p in zip(columns["p_value"], columns["p_difference"], strict=True)]
    reasons = [
        joined(missing_in(row, "pairs", skipna=skipna), _about(row[use], off))
        for row, use, off in zip(cells.rows, used, rounding, strict=True)
    ]
    return cells.dataset(
        {**columns, "verdict": verdicts, "n": used.sum(1)},
        reasons,
        result="equivalence",
        method="paired TOST",
        margin=margin,
        level=level,
        confidence=1 - 2 * level,
    )


_NUMBERS: Final = ("estimate", "low", "high", "p_value", "p_difference")


def _t_tests(rows: np.ndarray, alike: np.ndarray, margin: float, level: float) -> dict[str, np.ndarray]:
    """Return the numbers of each row of differences, [cell, pair]; where they are alike only the mean."""
    result = {name: np.full(len(rows), np.nan) for name in _NUMBERS}
    result["estimate"] = rows.mean(1)
    spread = rows[~alike]
    if not spread.size:
        return result
    above = stats.ttest_1samp(spread, -margin, axis=1, alternative="greater").pvalue
    below = stats.ttest_1samp(spread, margin, axis=1, alternative="less").pvalue
    zero = stats.ttest_1samp(spread, 0.0, axis=1)
    low, high = zero.confidence_interval(1 - 2 * level)
    numbers = {"low": low, "high": high, "p_value": np.maximum(above, below), "p_difference": zero.pvalue}
    for name, column in numbers.items():
        result[name][~alike] = column
    return result


def _verdict(p_value: float, p_difference: float, level: float) -> str:
    equivalent, different, inconclusive = VERDICTS
    if p_value <= level:
        return equivalent
    return different if p_difference <= level else inconclusive


def _about(differences: np.ndarray, rounding: float) -> str:
    """Return why the differences of a cell have no t-test; nothing if they have, or if none is left."""
    if differences.size == 1:
        return "one pair alone has no t-test"
    if differences.size and are_alike(differences, rounding):
        return f"all {differences.size} differences are the same, and without spread there is no t-test"
    return ""
