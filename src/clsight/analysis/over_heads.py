"""What does any head see that the mean over heads hides? The largest weight of each token over heads."""

import xarray as xr

from clsight.analysis.registry import measure
from clsight.analysis.weights import checked_dims, named, weights_of


@measure(
    question="Which tokens does at least one head attend to?",
    definition="max over heads of the CLS row, divided by its sum over the real tokens.",
    unit="",
    range="0 to 1; sums to 1 over the real tokens",
    cost="O(heads × tokens) per layer; from the record",
    paper="vit-explain, github.com/jacobgil/vit-explain (head fusion by maximum)",
    trust=(
        "The maximum grows with the number of heads even where they differ only by noise, and renormalizing "
        "then flattens it: set it beside mean_attends_to and the single heads."
    ),
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "token"),
)
def head_max(record: xr.Dataset) -> xr.DataArray:
    """Return the largest weight of each token over heads, renormalized to sum to 1 over the real tokens.

    The mean over heads is `mean_attends_to`.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.

    Returns:
        The dims of the row without `head`; in [0, 1], NaN at padding. `attrs["heads"]` says over how many
        heads: maxima over different numbers do not compare. NaN where no head may see a token.

    Raises:
        RecordError: If the record lacks the row or the mask.
    """
    row = weights_of(record, "attends_to", asked_by="head_max")
    largest = row.max(checked_dims(row, "head", asked_by="head_max"), skipna=False)
    share = largest / largest.where(record["token_mask"], 0.0).sum("token", skipna=False)
    heads = row.sizes.get("head", 1)
    result = named(
        share,
        "head_max",
        long_name=f"largest weight of {heads} heads, renormalized",
        undefined="no head may see a token",
    )
    return result.assign_attrs(heads=heads)
