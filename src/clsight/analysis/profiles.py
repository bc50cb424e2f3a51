"""Does CLS look at places rather than contents? Its weights by distance, or by row or column of an image."""

from typing import Final, Literal

import numpy as np
import xarray as xr

from clsight.analysis.registry import DIRECT_TRUST, measure
from clsight.analysis.weights import cls_position, named, weights_of, without_token_labels
from clsight.errors import RecordError, did_you_mean
from clsight.records.checking import need
from clsight.schema import Direction

Place = Literal["distance", "row", "column"]
_PLACES: Final[tuple[Place, ...]] = ("distance", "row", "column")


@measure(
    question="Where, counted from its own place, does CLS look?",
    definition="Weight by signed distance to CLS; or the mean weight of the patches in each row or column.",
    unit="",
    range="0 to 1",
    cost="O(tokens) per head, by row or column O(tokens × rows); from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=(
        "A profile mixes place with content where contents have their places, such as objects in the middle. "
        f"{DIRECT_TRUST}"
    ),
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "head", "distance"),
)
def position_profile(
    record: xr.Dataset, *, by: Place = "distance", direction: Direction = "attends_to"
) -> xr.DataArray:
    """Return the weights by place; average over samples, and what stays depends on the place alone.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        by: `distance`: position less that of CLS, in tokens. `row`, `column`: of patches; the mean weight of
            the patches there, so that the profile of uniform weights is flat.
        direction: `attends_to` (row of weights) or `attended_by` (column of weights).

    Returns:
        The dims of the record with `distance`, `row` or `column` in place of `token`, labeled; in [0, 1]. NaN
        where a sample has no real token, or none with a query.

    Raises:
        RecordError: If the record lacks weights or mask, or patches to go by, or `by` is unknown.
    """
    if by not in _PLACES:
        raise RecordError(
            "position_profile",
            expected="a known place to go `by`",
            got=repr(by),
            next_step=did_you_mean(str(by), _PLACES),
        )
    weights = weights_of(record, direction, asked_by="position_profile")
    profile = _by_distance(weights, record) if by == "distance" else _by_patches(weights, record, by)
    return named(
        profile,
        "position_profile",
        long_name=f"mean weight by {by}" + (" to CLS" if by == "distance" else " of patches"),
        undefined="a sample has no real token, or none with a query",
    )


def _by_distance(weights: xr.DataArray, record: xr.Dataset) -> xr.DataArray:
    """Return the weights with the distance to CLS in place of the position."""
    position = cls_position(record, asked_by="position_profile")
    tokens, plain = weights["token"].values, without_token_labels(weights)
    first, last = int(tokens[0] - position.max()), int(tokens[-1] - position.min())
    distance = xr.DataArray(np.arange(first, last + 1), dims="distance", name="distance")
    place = (
        position + distance - int(tokens[0])
    )  # the entry of each distance, beyond the tokens in some samples
    is_there = (place >= 0) & (place < len(tokens))
    found = plain.isel(token=place.clip(0, len(tokens) - 1)).where(is_there)
    order = ["distance" if dim == "token" else dim for dim in weights.dims]
    return found.assign_coords(distance=distance).transpose(*order)


def _by_patches(weights: xr.DataArray, record: xr.Dataset, by: str) -> xr.DataArray:
    """Return the mean weight over the patches that share a row or column; tokens at −1 are no patches."""
    place = without_token_labels(need(record, by, asked_by="position_profile"))
    plain = without_token_labels(weights)
    labels = np.arange(int(place.max()) + 1)
    is_there = (place == xr.DataArray(labels, {by: labels}, (by,))).astype(np.float64)
    total: xr.DataArray = xr.dot(plain.fillna(0.0), is_there, dim="token")
    count: xr.DataArray = xr.dot(plain.notnull().astype(np.float64), is_there, dim="token")
    return (total / count).transpose(*(by if dim == "token" else dim for dim in weights.dims))
