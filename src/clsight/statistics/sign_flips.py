"""Do two arms differ, pair by pair? The paired permutation test: every sign of a difference is as likely."""

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr
from scipy import stats

from clsight.statistics.cells import joined, missing_in, patterns_of, used_of
from clsight.statistics.draws import BLOCK
from clsight.statistics.pairs import paired_differences
from clsight.statistics.settings import at_least, fraction, one_of

EXACT_PAIRS: Final = 16
"""Up to so many pairs all 2^n sign flips are counted, whatever `resamples`."""

ALTERNATIVES: Final = ("two-sided", "greater", "less")


def paired_permutation(
    a: xr.DataArray,
    b: xr.DataArray,
    over: str = "seed",
    *,
    alternative: str = "two-sided",
    level: float = 0.05,
    resamples: int = 9999,
    skipna: bool = False,
    seed: int = 0,
) -> xr.Dataset:
    """Return the p-value of the mean paired difference under all flips of signs, for each remaining cell.

    Exact for n ≤ 16 pairs, or where 2^n ≤ `resamples`; else of `resamples` random flips, (count + 1) /
    (resamples + 1), never 0. A tie with the observed mean, up to rounding, counts as at least as extreme. A
    difference of zero stays and changes no p-value: it only cannot speak for either side.

    Args:
        a: Values with the dim `over`.
        b: Values with the same labels of `over`: the other arm.
        over: The dim of the pairs: training seeds.
        alternative: `two-sided`, `greater` (a − b above 0) or `less`.
        level: What p is compared with; says whether n can reach it.
        resamples: At least 100.
        skipna: Leave out pairs with NaN. Otherwise a cell with NaN has no p-value.
        seed: Of the random flips.

    Returns:
        `estimate` (mean of a − b), `p_value`, `smallest_p` (that these pairs could reach), `n` (pairs used),
        `nonzero` (pairs that differ), `flips` (counted: 2^n if exact) and `reason`, which says where no such
        p-value is at or below `level`.

    Raises:
        StatisticsError: If values, labels or settings are not as above.
    """
    asked_by = "paired_permutation"
    one_of(ALTERNATIVES, alternative, "alternative", asked_by=asked_by)
    flips = Flips(
        alternative,
        fraction(level, "level", asked_by=asked_by),
        at_least(100, resamples, "resamples", asked_by=asked_by),
        at_least(0, seed, "seed", asked_by=asked_by),
    )
    cells, rounding = paired_differences(a, b, over, asked_by=asked_by)
    differences = np.where(abs(cells.rows) <= rounding[:, None], 0.0, cells.rows)
    used = used_of(differences, skipna=skipna)
    columns = _columns(differences, used, rounding, flips)
    missing = [missing_in(row, "pairs", skipna=skipna) for row in cells.rows]
    limits = zip(columns["n"], columns["nonzero"], columns["smallest_p"], strict=True)
    reasons = [joined(*told) for told in zip(missing, itertools.starmap(flips.about, limits), strict=True)]
    told = {"alternative": alternative, "level": level, "resamples": resamples, "seed": seed}
    return cells.dataset(columns, reasons, result="paired_permutation", method="sign flips", **told)


@dataclass(frozen=True)
class Flips:
    """The settings of the test, as in `paired_permutation`."""

    alternative: str
    level: float
    resamples: int
    seed: int

    def count(self, pairs: int) -> int:
        """Return how many sign flips are counted: all of them, or the random ones."""
        every = 2**pairs
        return every if pairs <= EXACT_PAIRS or every <= self.resamples else self.resamples

    def smallest(self, pairs: int, nonzero: int) -> float:
        """Return the smallest p-value that so many pairs can have."""
        sides = 2 if self.alternative == "two-sided" else 1
        random = 0.0 if self.count(pairs) == 2**pairs else sides / (self.resamples + 1)
        return min(1.0, max(sides * 0.5**nonzero, random))

    def p_values(self, differences: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        """Return the p-value of each row of differences, [cell, pair], from the same flips for all.

        The statistic is the sum over Σ|d|, which no flip changes, plus a constant. To scipy, values within
        100 units in the last place are ties; the constant makes that as wide as the rounding of the sums.
        """
        if differences.shape[1] == 1:  # scipy wants two; a difference of zero changes no p-value
            differences = np.pad(differences, ((0, 0), (0, 1)))
        pairs = differences.shape[1]
        scale = abs(differences).sum(1)
        differs = scale > 0
        scale = np.where(differs, scale, 1.0)
        share = differences / scale[:, None]
        tie = 2 * pairs * rounding / scale
        constant = np.maximum(2.0, np.where(differs, tie / (100 * np.finfo(np.float64).eps), 0.0))
        flips = stats.permutation_test(
            (np.ones(pairs),),
            lambda signs, axis: signs @ share.T + constant,
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf if self.count(pairs) == 2**pairs else self.resamples,
            batch=max(1, BLOCK // (2 * pairs)),
            alternative=self.alternative,
            axis=-1,
            rng=self.seed,
        )
        found: np.ndarray = flips.pvalue
        return found

    def about(self, pairs: int, nonzero: int, smallest: float) -> str:
        """Return what is to be said of pairs that cannot reach the level; nothing if they can."""
        if pairs == 0 or smallest <= self.level:
            return ""
        if nonzero == 0:
            return f"all {pairs} differences are zero"
        needed = math.ceil(math.log2((2 if self.alternative == "two-sided" else 1) / self.level))
        out_of_reach = f"cannot reach a {self.alternative} p below {smallest:.4g}"
        if nonzero >= needed:
            return f"{self.resamples} random flips {out_of_reach}"
        differing = f"{pairs} pair{'' if pairs == 1 else 's'}"
        if nonzero < pairs:
            differing = f"{nonzero} differing of {differing}"
        return f"{differing} {out_of_reach}; the level {self.level:g} needs at least {needed}"


def _columns(
    differences: np.ndarray, used: np.ndarray, rounding: np.ndarray, flips: Flips
) -> dict[str, np.ndarray]:
    """Return the variables of the result, per cell."""
    cells = len(differences)
    estimate, p_value, smallest = (np.full(cells, np.nan) for _ in range(3))
    pairs, nonzero = used.sum(1), ((differences != 0) & used).sum(1)
    most = max(1, BLOCK // 2**EXACT_PAIRS)
    for members, pattern in patterns_of(used, most):
        kept = differences[members][:, pattern]
        estimate[members] = kept.mean(1)
        p_value[members] = flips.p_values(kept, rounding[members])
        smallest[members] = [flips.smallest(kept.shape[1], int(count)) for count in nonzero[members]]
    counted = np.array([flips.count(int(count)) if count else 0 for count in pairs])
    return {
        "estimate": estimate,
        "p_value": p_value,
        "smallest_p": smallest,
        "n": pairs,
        "nonzero": nonzero,
        "flips": counted,
    }
