"""Does CLS look at itself? The one weight where row and column meet."""

import xarray as xr

from clsight.analysis.registry import DIRECT_TRUST, measure
from clsight.analysis.weights import cls_position, named, weights_of

_OF_TOKENS = ("token", "token_text", "token_kind", "row", "column")


@measure(
    question="How much does CLS keep to itself?",
    definition="The weight of the CLS query on the CLS key.",
    unit="",
    range="0 to 1",
    cost="O(1) per head; from the record",
    paper="",
    trust=f"The residual connection carries CLS past every layer whatever this says. {DIRECT_TRUST}",
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "head"),
)
def cls_self_attention(record: xr.Dataset) -> xr.DataArray:
    """Return the weight that the CLS query puts on CLS.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.

    Returns:
        The dims of the record without `token`; in [0, 1].

    Raises:
        RecordError: If the record lacks the row, the mask, or its [CLS] position.
    """
    weights = weights_of(record, "attends_to", asked_by="cls_self_attention")
    itself = weights.sel(token=cls_position(record, asked_by="cls_self_attention"))
    itself = itself.drop_vars([name for name in _OF_TOKENS if name in itself.coords])
    return named(itself, "cls_self_attention", long_name="attention of CLS to itself")
