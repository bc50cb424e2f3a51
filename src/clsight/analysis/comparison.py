"""Do two models, asked the same, look at the same? Distances between records, and which head is which."""

from typing import Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from clsight.analysis.divergence import jensen_shannon, rank_correlation
from clsight.analysis.weights import named, shares_of, without_token_labels
from clsight.errors import RecordError, did_you_mean
from clsight.records.sameness import check_same_inputs
from clsight.schema import Direction

Kind = Literal["jensen_shannon", "spearman"]
_LABELS: Final[dict[Kind, str]] = {
    "jensen_shannon": "Jensen–Shannon distance",
    "spearman": "1 − Spearman's rank correlation",
}
_UNDEFINED: Final[dict[Kind, str]] = {
    "jensen_shannon": "there is no attention to share, or not the same tokens have a query",
    "spearman": "all weights are equal, fewer than two tokens count, or not the same ones in both",
}


def distance(
    first: xr.Dataset,
    second: xr.Dataset,
    *,
    kind: Kind = "jensen_shannon",
    direction: Direction = "attends_to",
) -> xr.DataArray:
    """Return how differently two models attend on the same inputs, head by head.

    Args:
        first: A record, or a selection that keeps `token`.
        second: A record of the same inputs with the same layers and heads. Heads of models trained apart do
            not correspond: see `match_heads`.
        kind: `jensen_shannon`: the distance, square root of the divergence to base 2, a metric in [0, 1].
            `spearman`: 1 − ρ of the ranks, in [0, 2]; 1 where the orders have nothing in common.
        direction: `attends_to` (row) or `attended_by` (column, divided by its sum).

    Returns:
        The dims of both without `token`: for plain records sample, layer, head. NaN where undefined:
        `attrs["undefined"]` says where that is.

    Raises:
        RecordError: If inputs, layers or heads differ, weights or mask are missing, or `kind` is unknown.
    """
    if kind not in _LABELS:
        raise RecordError(
            "distance", expected="a known `kind`", got=repr(kind), next_step=did_you_mean(str(kind), _LABELS)
        )
    one, other = _shares_of_both(first, second, direction, asked_by="distance")
    for dim, remedy in (
        ("layer", "Select layers that correspond, and number them alike"),
        ("head", "Find out which head is which first: clsight.analysis.match_heads(first, second)"),
    ):
        _check_same_labels(one, other, dim, next_step=remedy, asked_by="distance")
    if kind == "spearman":
        result = 1 - rank_correlation(one, other)
    else:
        result = xr.apply_ufunc(np.sqrt, jensen_shannon(one, other))
    return named(result, "distance", long_name=_LABELS[kind], undefined=_UNDEFINED[kind])


def match_heads(first: xr.Dataset, second: xr.Dataset, *, direction: Direction = "attends_to") -> xr.Dataset:
    """Return for each head of one model the head of another that does the same, layer by layer.

    In every layer each head is given one head of the other model, so that the sum of their distances
    (Jensen–Shannon, mean over samples) is as small as can be. The best of many pairs looks closer than it is:
    judge the match on samples that did not choose it.

    Args:
        first: A record, or a selection that keeps `token` and `head`.
        second: A record of the same inputs with the same layers; the number of heads may differ.
        direction: `attends_to` (row) or `attended_by` (column).

    Returns:
        `match` (label of the head in `second`, −1 where it has fewer heads) and `distance` (in [0, 1], NaN
        there), each with the dims of both without `sample` and `token`: for plain records layer, head.

    Raises:
        RecordError: If inputs or layers differ, weights or mask are missing, or a distance is undefined.

    Example:
        >>> found = clsight.analysis.match_heads(a, b)  # doctest: +SKIP
        >>> b["attends_to"].sel(head=found["match"])  # doctest: +SKIP
    """
    one, other = _shares_of_both(first, second, direction, asked_by="match_heads")
    remedy = "Select layers that correspond, and number them alike"
    _check_same_labels(one, other, "layer", next_step=remedy, asked_by="match_heads")
    cost = _mean_distances(one, other)
    place: xr.DataArray = xr.apply_ufunc(
        _assigned, cost, input_core_dims=[["head", "other_head"]], output_core_dims=[["head"]], vectorize=True
    )
    is_matched = place >= 0
    chosen = cost.isel(other_head=place.where(is_matched, 0)).where(is_matched).transpose(*place.dims)
    labels = xr.apply_ufunc(other["head"].values.__getitem__, place)
    return xr.Dataset(
        {
            "match": labels.where(is_matched, -1).rename("match").assign_attrs(long_name="head of the other"),
            "distance": named(chosen, "distance", long_name=_LABELS["jensen_shannon"]),
        }
    ).drop_vars("other_head", errors="ignore")


def _shares_of_both(
    first: xr.Dataset, second: xr.Dataset, direction: Direction, *, asked_by: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the shares of both records, which must be of the same inputs, whatever number samples have."""
    check_same_inputs({"first": first, "second": second}, asked_by=asked_by)
    one, other = (
        without_token_labels(shares_of(record, direction, asked_by=asked_by)) for record in (first, second)
    )
    return one, other.assign_coords(sample=one["sample"]) if "sample" in one.dims else other


def _check_same_labels(
    first: xr.DataArray, second: xr.DataArray, dim: str, *, next_step: str, asked_by: str
) -> None:
    """Raise unless a dim is labeled alike in both, or in neither there."""
    here, there = (array[dim].values.tolist() if dim in array.dims else None for array in (first, second))
    if here != there:
        raise RecordError(
            asked_by,
            expected=f"two records with the same labels of `{dim}`",
            got=f"{here} in the first and {there} in the second",
            next_step=next_step,
        )


def _mean_distances(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    """Return the mean distance over samples of each head to each of the other, one head at a time."""
    other = second.rename(head="other_head")
    squares = [jensen_shannon(first.isel(head=at), other) for at in range(first.sizes["head"])]
    divergence: xr.DataArray = xr.concat(squares, dim=first["head"])
    cost: xr.DataArray = xr.apply_ufunc(np.sqrt, divergence)
    cost = cost.mean("sample", skipna=True) if "sample" in cost.dims else cost
    if bool(cost.isnull().any()):
        raise RecordError(
            "match_heads",
            expected="heads whose distances are defined in at least one sample",
            got=f"{int(cost.isnull().sum())} of {cost.size} pairs without",
            where="Their weights are all 0, or not the same tokens have a query",
            next_step="Leave out such layers: record.isel(layer=...)",
        )
    return cost


def _assigned(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each row of a cost matrix the column of the optimal assignment, −1 where there is none."""
    rows, columns = linear_sum_assignment(cost)
    assigned = np.full(len(cost), -1, dtype=np.int64)
    assigned[rows] = columns
    return assigned
