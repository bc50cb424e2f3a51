"""How far apart are two distributions over tokens? Jensen–Shannon and Spearman, of labeled arrays."""

from typing import Final

import numpy as np
import xarray as xr
from scipy.special import rel_entr
from scipy.stats import rankdata

_BIT: Final = float(np.log(2.0))


def jensen_shannon(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    """Return the Jensen–Shannon divergence, logarithm to base 2: in [0, 1], 1 where supports are disjoint.

    It is ½ KL(p‖m) + ½ KL(q‖m) with m = (p + q)/2; its square root is a metric. Lin 1991, Divergence Measures
    Based on the Shannon Entropy.

    Args:
        first: Shares over `token`, NaN where a token does not count; divided by their sum here.
        second: The same.

    Returns:
        The dims of both without `token`. NaN where no token counts, or not the same ones in both.
    """
    p, q = _distribution(first), _distribution(second)
    middle = (p + q) / 2
    terms: xr.DataArray = xr.apply_ufunc(rel_entr, p, middle) + xr.apply_ufunc(rel_entr, q, middle)
    divergence: xr.DataArray = terms.sum("token", skipna=False) / 2 / _BIT
    return divergence.clip(0.0, 1.0).where(_counted_alike(first, second))


def rank_correlation(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    """Return Spearman's ρ over `token`, ties at their mean rank: in [−1, 1].

    Args:
        first: Values over `token`, NaN where a token does not count.
        second: The same.

    Returns:
        The dims of both without `token`. NaN where the tokens that count are not the same in both, are fewer
        than two, or all have the same value in one: there is no order to compare.
    """
    one, other = _centered_ranks(first), _centered_ranks(second)
    product = (one * other).sum("token")
    variances = (one**2).sum("token") * (other**2).sum("token")
    correlation: xr.DataArray = product / xr.apply_ufunc(np.sqrt, variances)  # 0/0 is NaN
    return correlation.clip(-1.0, 1.0).where(_counted_alike(first, second))


def _distribution(shares: xr.DataArray) -> xr.DataArray:
    """Return shares that sum to 1 exactly, 0 at tokens that do not count."""
    return (shares / shares.sum("token", skipna=True)).fillna(0.0)


def _counted_alike(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    """Return where the same tokens count in both, and at least one does."""
    counted = first.notnull()
    return (counted == second.notnull()).all("token") & counted.any("token")


def _centered_ranks(values: xr.DataArray) -> xr.DataArray:
    """Return the rank of each value among those that count, less the mean rank; NaN elsewhere.

    Ranks are multiples of ½, so that those of equal values are centered to exactly 0.
    """
    dims = ["token"]
    last = values.fillna(np.inf)  # ranked behind all that count
    ranks: xr.DataArray = xr.apply_ufunc(
        rankdata, last, input_core_dims=[dims], output_core_dims=[dims], kwargs={"axis": -1}
    )
    ranks = ranks.where(values.notnull())
    return ranks - ranks.mean("token", skipna=True)
