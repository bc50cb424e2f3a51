"""How many seeds must a study have? The power of the equivalence test, from a pilot's spread."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any, Final

import numpy as np
import xarray as xr
from scipy import integrate, special, stats

from clsight.errors import StatisticsError
from clsight.statistics.cells import cells_of, numbers
from clsight.statistics.settings import at_least, finite, fraction, positive

_NO_SPREAD: Final = "a spread that is not above 0 plans nothing"


def power_of_equivalence(
    spread: float | xr.DataArray,
    n: int | Iterable[int],
    *,
    margin: float,
    level: float = 0.05,
    difference: float = 0.0,
) -> xr.DataArray:
    """Return the chance that `equivalence` finds n pairs equivalent: exact for normal differences.

    P(|mean| + t·s/√n < margin), integrated over the distribution of s; t is Student's with n − 1 degrees.

    Args:
        spread: Standard deviation of the paired differences (not of the arms), as a pilot found it; above 0.
        n: Number of pairs, at least 2, or several; several make a dim `n`.
        margin: As in `equivalence`, in the unit of `spread`.
        level: Of the test, below 0.5.
        difference: The true mean difference.

    Returns:
        Power in [0, 1]: the dims of `spread`, then `n`. NaN where the spread is not above 0.

    Raises:
        StatisticsError: If spread or settings are not as above.
    """
    asked_by = "power_of_equivalence"
    several = list(n) if isinstance(n, Iterable) else [n]
    pairs = [at_least(2, count, "n", asked_by=asked_by) for count in several]
    test = _Test(margin, level, difference, asked_by=asked_by)
    labeled = _labeled(spread, asked_by=asked_by)
    cells = cells_of(labeled, ())
    powers = [[test.power(sd, count) for count in pairs] for sd in cells.rows.tolist()]
    result = xr.DataArray(
        np.array(powers).reshape(*cells.shape, len(pairs)),
        dims=(*cells.dims, "n"),
        coords={**cells.coords, "n": pairs},
        name="power",
    )
    missing = int(result.isnull().any("n").sum())
    reason = f"{missing} of {len(powers)} cells: {_NO_SPREAD}" if missing else ""
    result.attrs = {"result": asked_by, **test.told, "reason": reason}
    return result.squeeze("n") if not isinstance(n, Iterable) else result


def seeds_for_equivalence(
    spread: float | xr.DataArray,
    *,
    margin: float,
    power: float = 0.8,
    level: float = 0.05,
    difference: float = 0.0,
    at_most: int = 10_000,
) -> xr.Dataset:
    """Return the smallest number of pairs with which `equivalence` has the wanted power.

    The spread of a pilot of few seeds is itself unsure: plan with `spread_of_pairs(...)["high"]`.

    Args:
        spread: Standard deviation of the paired differences, as a pilot found it; above 0.
        margin: As in `equivalence`, in the unit of `spread`.
        power: Wanted chance to find equivalence.
        level: Of the test, below 0.5.
        difference: The true mean difference, nearer to 0 than the margin.
        at_most: Largest number of pairs to think of.

    Returns:
        `n`, `power` (with n pairs) and `reason`, in the dims of `spread`. If `at_most` pairs do not suffice,
        n is −1 and `power` theirs; if the spread is not above 0, −1 and NaN.

    Raises:
        StatisticsError: If spread or settings are not as above.
    """
    asked_by = "seeds_for_equivalence"
    test = _Test(margin, level, difference, asked_by=asked_by)
    fraction(power, "power", asked_by=asked_by)
    at_least(2, at_most, "at_most", asked_by=asked_by)
    if test.difference >= test.margin:
        raise StatisticsError(
            asked_by,
            expected=f"a `difference` nearer to 0 than the margin {margin:g}",
            got=repr(difference),
            next_step="No number of seeds shows equivalence there: leave `difference` at 0",
        )
    cells = cells_of(_labeled(spread, asked_by=asked_by), ())
    found = [test.fewest(sd, power, at_most) for sd in cells.rows.tolist()]
    reasons = [_about(count, reached, at_most) for count, reached in found]
    columns = {"n": [count for count, _ in found], "power": [reached for _, reached in found]}
    return cells.dataset(columns, reasons, result=asked_by, wanted_power=power, **test.told)


class _Test:
    """Two one-sided t-tests of normal differences: their power for a spread and a number of pairs."""

    def __init__(self, margin: Any, level: Any, difference: Any, *, asked_by: str) -> None:
        self.margin = positive(margin, "margin", asked_by=asked_by)
        self.level = fraction(level, "level", asked_by=asked_by, below=0.5)
        self.difference = abs(finite(difference, "difference", asked_by=asked_by))

    @property
    def told(self) -> dict[str, float | str]:
        """The settings, as attributes of a result."""
        told = {"margin": self.margin, "level": self.level, "difference": self.difference}
        return {"method": "paired TOST, normal differences", **told}

    def power(self, spread: float, pairs: int) -> float:
        """Return the chance that the test finds equivalence; NaN if the spread is not above 0."""
        if not spread > 0:
            return math.nan
        t, freedom, error = stats.t.isf(self.level, pairs - 1), pairs - 1, spread / math.sqrt(pairs)

        def given(quantile: float) -> float:
            """Return the chance given the s at a quantile of its distribution."""
            s = math.sqrt(2 * special.gammaincinv(freedom / 2, quantile) / freedom)
            above = special.ndtr((self.margin - self.difference) / error - t * s)
            below = special.ndtr((-self.margin - self.difference) / error + t * s)
            return float(max(above - below, 0.0))

        largest = self.margin / (
            error * t
        )  # the s, over its true value, from which on the interval never fits
        end = float(special.gammainc(freedom / 2, freedom / 2 * largest**2))
        return float(integrate.quad(given, 0.0, end, epsabs=1e-10, limit=200)[0])

    def fewest(self, spread: float, power: float, at_most: int) -> tuple[int, float]:
        """Return the smallest number of pairs with the power, and its power; −1 if there is none."""
        low, high = 1, 2
        while self.power(spread, high) < power:
            if high == at_most:
                return -1, self.power(spread, high)
            low, high = high, min(2 * high, at_most)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(spread, middle) >= power else (middle, high)
        reached = self.power(spread, high)
        return (-1 if math.isnan(reached) else high), reached


def _about(count: int, reached: float, at_most: int) -> str:
    """Return why there is no number of pairs; nothing if there is one."""
    if math.isnan(reached):
        return _NO_SPREAD
    return f"{at_most} pairs have a power of only {reached:.3g}" if count < 0 else ""


def _labeled(spread: Any, *, asked_by: str) -> xr.DataArray:
    """Return the spread as labeled numbers; a plain number is one without dims."""
    if isinstance(spread, Real):
        return numbers(xr.DataArray(float(spread)), asked_by=asked_by)
    return numbers(spread, asked_by=asked_by)
