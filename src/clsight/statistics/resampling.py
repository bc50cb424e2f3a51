"""How sure is an aggregated number? Bootstrap intervals over seeds, inputs, or seeds and then inputs."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from scipy import stats

from clsight.errors import StatisticsError
from clsight.statistics.cells import (
    are_alike,
    cells_of,
    dims_of,
    joined,
    missing_in,
    numbers,
    patterns_of,
    used_of,
)
from clsight.statistics.draws import BLOCK, counts_of, freedom_of, means_of_draws
from clsight.statistics.settings import at_least, fraction, one_of

Statistic = Callable[..., Any]
STATISTICS: Final[dict[str, Statistic]] = {"mean": np.mean, "median": np.median}
METHODS: Final = ("expanded", "percentile", "basic", "BCa")


@dataclass(frozen=True)
class Plan:
    """The settings of a bootstrap, as in `bootstrap`."""

    statistic: str | Statistic
    confidence: float
    method: str
    resamples: int
    shared: bool
    skipna: bool
    seed: int


def bootstrap(
    values: xr.DataArray,
    over: str | Sequence[str] = "sample",
    statistic: str | Statistic = "mean",
    *,
    confidence: float = 0.95,
    method: str = "expanded",
    resamples: int = 9999,
    shared: bool = True,
    skipna: bool = False,
    seed: int = 0,
) -> xr.Dataset:
    """Return a bootstrap interval of an aggregated number, for each cell of the remaining dims.

    Args:
        values: Any dims; the units of `over` are independent of each other: training runs, inputs.
        over: One dim, or two: `("seed", "sample")` draws seeds, then inputs. All cells share their draws.
        statistic: `mean`, `median`, or a function of an array and `axis=`; of two dims the mean.
        confidence: Between 0 and 1.
        method: `percentile`, `basic`, `BCa` (one dim only), all three too narrow for few units (of normal
            values, n = 5 and 10, they cover 0.84 and 0.90, not 0.95), or `expanded` (0.92 and 0.94):
            percentiles widened by √(n/(n−1)) and Student's t (Hesterberg 2015, doi
            10.1080/00031305.2015.1089789).
        resamples: At least 100.
        shared: Of two dims: a label of the second is the same input for every seed, drawn for all at once
            (Owen 2007, doi 10.1214/07-AOAS122; too wide if neither seeds nor inputs differ much from each
            other, only their combinations). False: every seed has inputs of its own.
        skipna: Leave NaN out. Otherwise a cell with NaN has no result.
        seed: Of the draws.

    Returns:
        `estimate`, `low`, `high` in the unit of `values`, `n` (units used, of the first dim) and `reason`. No
        interval (NaN) of one unit or of values that are all the same.

    Raises:
        StatisticsError: If values, dims or settings are not as above.
    """
    dims = dims_of(numbers(values, asked_by="bootstrap"), over, asked_by="bootstrap", most=2)
    plan = Plan(statistic, confidence, method, resamples, shared, skipna, seed)
    _check(plan, dims)
    cells = cells_of(values, dims)
    used = used_of(cells.rows, skipna=skipna)
    estimate, low, high, tail = (_of_one_dim if len(dims) == 1 else _of_two_dims)(cells.rows, used, plan)
    units = used.any(tuple(range(2, used.ndim))).sum(-1)
    reasons = [_reason(*cell, plan) for cell in zip(cells.rows, used, low, tail, strict=True)]
    columns = {"estimate": estimate, "low": low, "high": high, "n": units}
    return cells.dataset(columns, reasons, **_attributes(plan, dims))


def _check(plan: Plan, dims: tuple[str, ...]) -> None:
    """Refuse settings that are out of range or unknown."""
    asked_by = "bootstrap"
    fraction(plan.confidence, "confidence", asked_by=asked_by)
    at_least(100, plan.resamples, "resamples", asked_by=asked_by)
    at_least(0, plan.seed, "seed", asked_by=asked_by)
    one_of(METHODS if len(dims) == 1 else METHODS[:-1], plan.method, "method", asked_by=asked_by)
    if len(dims) == 2 and plan.statistic != "mean":
        raise StatisticsError(
            asked_by,
            expected='`statistic="mean"` over two dims',
            got=repr(plan.statistic),
            next_step=f"Apply it over `{dims[1]}` first, then bootstrap over `{dims[0]}`",
        )
    if not callable(plan.statistic):
        one_of(STATISTICS, plan.statistic, "statistic", asked_by=asked_by)


def _attributes(plan: Plan, dims: tuple[str, ...]) -> dict[str, Any]:
    """Return what was computed, as plain values."""
    name = plan.statistic
    told = {
        "result": "bootstrap",
        "method": plan.method,
        "statistic": name if isinstance(name, str) else getattr(name, "__name__", "statistic"),
        "confidence": plan.confidence,
        "resamples": plan.resamples,
        "seed": plan.seed,
    }
    return told if len(dims) == 1 else {**told, "shared": plan.shared}


def _of_one_dim(rows: np.ndarray, used: np.ndarray, plan: Plan) -> np.ndarray:
    """Return estimate, low, high and tail per cell, [4, cell]: at once for cells that use the same units."""
    result = np.full((4, len(rows)), np.nan)
    for members, pattern in patterns_of(used, max(1, BLOCK // plan.resamples)):
        kept = rows[members][:, pattern]
        size = kept.shape[1]
        result[3, members] = tail = tail_of(plan, size - 1, 1 - 1 / size) if size > 1 else np.nan
        result[:3, members] = _intervals(kept, tail, plan)
        result[1:3, members] = np.where([are_alike(row) for row in kept], np.nan, result[1:3, members])
    return result


def _of_two_dims(rows: np.ndarray, used: np.ndarray, plan: Plan) -> np.ndarray:
    """Return estimate, low, high and tail per cell, [4, cell]."""
    result = np.full((4, len(rows)), np.nan)
    for cell, (grid, there) in enumerate(zip(rows, used, strict=True)):
        kept = grid[there.any(1)][:, there.any(0)]
        if kept.size:
            result[0, cell] = np.nanmean(kept)
        if len(kept) > 1 and not are_alike(grid[there]):
            means = means_of_draws(kept, plan.resamples, shared=plan.shared, seed=plan.seed)
            result[3, cell] = tail = tail_of(plan, *freedom_of(kept, shared=plan.shared))
            low, high = np.quantile(means, [tail, 1 - tail])
            basic = (2 * result[0, cell] - high, 2 * result[0, cell] - low)
            result[1:3, cell] = basic if plan.method == "basic" else (low, high)
    return result


def _intervals(rows: np.ndarray, tail: float, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return estimate, low and high of rows without NaN, [cell, unit]."""
    size = rows.shape[1]

    def at(positions: np.ndarray, axis: int = -1) -> np.ndarray:
        """Return the statistic at positions [..., unit], for every row: [cell, ...]."""
        if plan.statistic == "mean":
            means: np.ndarray = (
                np.tensordot(rows, counts_of(positions, size), (1, -1)) / positions.shape[axis]
            )
            return means
        function = plan.statistic if callable(plan.statistic) else STATISTICS[plan.statistic]
        return np.stack([function(row[positions], axis=axis) for row in rows])

    estimate = at(np.arange(size))
    if size == 1:
        return estimate, np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # told as a reason instead
        interval = stats.bootstrap(
            (np.arange(size),),
            at,
            vectorized=True,
            axis=-1,
            n_resamples=plan.resamples,
            batch=max(1, BLOCK // size),
            confidence_level=1 - 2 * tail,
            method="percentile" if plan.method == "expanded" else plan.method,
            rng=plan.seed,
        ).confidence_interval
    return estimate, interval.low, interval.high


def tail_of(plan: Plan, freedom: float, shown: float) -> float:
    """Return the share of resamples beyond each end of the interval.

    Args:
        plan: Says how much confidence, by which method.
        freedom: Student's degrees of freedom of the estimate.
        shown: Which share of the variance of the estimate the draws show.
    """
    tail = (1 - plan.confidence) / 2
    if plan.method != "expanded":
        return tail
    return float(stats.norm.cdf(stats.t.ppf(tail, freedom) / np.sqrt(shown)))


def _reason(row: np.ndarray, used: np.ndarray, low: float, tail: float, plan: Plan) -> str:
    """Return what is to be said about one cell; its first dim is that of the units."""
    missing = missing_in(row, "values", skipna=plan.skipna)
    units = int(used.any(tuple(range(1, used.ndim))).sum())
    if not units:
        return missing
    if np.isnan(low):
        return joined(missing, _why_not(row[used], units, plan))
    # a draw is a certain unit throughout as often as 1 in units^units: no draw reaches further
    few = f"{units} units are too few: no draw reaches as far as the interval should, and it covers less"
    return joined(missing, few if float(units) ** -units > tail else "")


def _why_not(values: np.ndarray, units: int, plan: Plan) -> str:
    """Return why values, of so many units, have no interval."""
    if units == 1:
        return "one unit alone has no interval"
    if are_alike(values):
        return f"all {values.size} values are the same, so they do not say how far others would be off"
    return f"the {plan.method} interval is not defined for these values"
