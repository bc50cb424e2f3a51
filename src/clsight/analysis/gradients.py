"""Would the answer change if CLS attended less to a token? The gradient times the weight."""

import xarray as xr

from clsight.analysis.registry import measure
from clsight.analysis.weights import named, weights_of
from clsight.records.checking import need


@measure(
    question="How does the answer depend on what CLS attends to?",
    definition="a ∂target/∂a for each weight of the CLS row, sign kept; summed over heads if asked.",
    unit="target",
    range="any number; positive: the weight speaks for the target",
    cost="O(tokens) per head; from the record",
    paper="Barkan et al. 2021, Grad-SAM, arXiv 2204.11073",
    trust=(
        "First order around the weights as they are: a saturated answer has no gradient, and what weights do "
        "only together is not seen."
    ),
    needs=("attends_to", "attends_to_gradient", "token_mask"),
    dims=("sample", "layer", "head", "token"),
)
def gradient_times_attention(record: xr.Dataset, *, sum_heads: bool = False) -> xr.DataArray:
    """Return each weight of the CLS row times the gradient of the target with respect to it.

    What the target was, the capture decided (`target=`); by default the largest logit.

    Args:
        record: A record captured with `keep="gradient"`, or a selection that keeps `token`.
        sum_heads: Sum over the heads the record has.

    Returns:
        The dims of the row, without `head` if summed; in the unit of the target, NaN at padding.

    Raises:
        RecordError: If the record lacks row, mask or `attends_to_gradient`.
    """
    row = weights_of(record, "attends_to", asked_by="gradient_times_attention")
    product = row * need(record, "attends_to_gradient", asked_by="gradient_times_attention")
    label = "gradient × weight"
    if sum_heads and "head" in product.dims:
        product, label = product.sum("head", skipna=False), f"{label}, sum over heads"
    return named(product, "gradient_times_attention", long_name=label, units="target")
