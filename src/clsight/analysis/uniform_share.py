"""Is a weight large or small for a sequence of this length? Weights over the uniform share."""

import xarray as xr

from clsight.analysis.registry import DIRECT_TRUST, measure
from clsight.analysis.weights import named, token_count, weights_of
from clsight.schema import Direction


@measure(
    question="Is this token attended more than if all tokens were alike?",
    definition="Weight × n, n = number of real tokens: the weight over the uniform share 1/n.",
    unit="× uniform",
    range="0 to n; 1 = exactly the uniform share",
    cost="O(tokens) per head; from the record",
    paper="",
    trust=DIRECT_TRUST,
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "head", "token"),
)
def lift(record: xr.Dataset, *, direction: Direction = "attends_to") -> xr.DataArray:
    """Return each weight over the uniform share of the sample's real tokens.

    In the column the uniform share is the same 1/n: what a query puts on [CLS] that treats all keys alike.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        direction: `attends_to` (row) or `attended_by` (column).

    Returns:
        The dims of the weights; in [0, n], uniform weights give 1. NaN at padding.

    Raises:
        RecordError: If the record lacks the weights or the mask.
    """
    weights = weights_of(record, direction, asked_by="lift")
    over_uniform = weights * token_count(record, asked_by="lift")
    ordered = over_uniform.transpose(*weights.dims)
    return named(ordered, "lift", long_name="weight over the uniform share", units="× uniform")
