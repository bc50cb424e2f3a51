"""Where does CLS draw from through all layers, and what does each token receive? Read off the record."""

import xarray as xr

from clsight.analysis.registry import DIRECT_TRUST, measure
from clsight.analysis.weights import named
from clsight.records.checking import need


@measure(
    question="Which input tokens does CLS draw from through all layers?",
    definition="The CLS row of Π over layers of (½ I + ½ mean over heads of A).",
    unit="",
    range="0 to 1; sums to 1 over the real tokens",
    cost="O(tokens), after O(tokens²) per head in the capture; from the record",
    paper="Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv 2005.00928",
    trust=(
        "Takes all values for alike, the residual for one half and feed-forward layers for nothing; tends to "
        "uniform with depth."
    ),
    needs=("rollout", "token_mask"),
    dims=("sample", "token"),
)
def rollout(record: xr.Dataset) -> xr.DataArray:
    """Return the attention of CLS through all layers, as the capture computed it.

    Args:
        record: A record captured with `keep="rollout"`, plain or stacked, or a selection.

    Returns:
        sample, token; in [0, 1], NaN at padding.

    Raises:
        RecordError: If the record lacks `rollout` or the mask.
    """
    return _real(record, "rollout", asked_by="rollout", long_name="rollout of CLS")


@measure(
    question="How much attention does each token receive, from all tokens?",
    definition="Mean weight on the token over the real queries, its own included.",
    unit="",
    range="0 to 1; sums to 1 over the real tokens",
    cost="O(tokens) per head, after O(tokens²) in the capture; from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=f"A token that receives much may be a sink. {DIRECT_TRUST}",
    needs=("received", "token_mask"),
    dims=("sample", "layer", "head", "token"),
)
def received(record: xr.Dataset) -> xr.DataArray:
    """Return the mean weight that each token receives from all real tokens.

    Args:
        record: A record captured with `keep="received"`, plain or stacked, or a selection.

    Returns:
        sample, layer, head, token; in [0, 1]. NaN at padding, and in layers of class attention.

    Raises:
        RecordError: If the record lacks `received` or the mask.
    """
    weights = _real(record, "received", asked_by="received", long_name="mean weight received")
    return weights.assign_attrs(undefined="NaN where CLS is the only query of the layer")


def _real(record: xr.Dataset, name: str, *, asked_by: str, long_name: str) -> xr.DataArray:
    """Return a variable in float64, NaN at padding."""
    mask = need(record, "token_mask", asked_by=asked_by)
    weights = need(record, name, asked_by=asked_by).astype(float).where(mask)
    return named(weights, asked_by, long_name=long_name)
