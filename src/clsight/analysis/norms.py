"""How much does each token bring to CLS, and not only how much is it looked at? Weights times value norms."""

import xarray as xr

from clsight.analysis.registry import measure
from clsight.analysis.weights import named, weights_of
from clsight.records.checking import need

_PAPER = "Kobayashi et al. 2020, Attention is Not Only a Weight, arXiv 2004.10102"


@measure(
    question="How much does each token bring to CLS through this head?",
    definition="a ‖v W_O‖: weight times norm of the projected value; over its sum if normalized.",
    unit="norm",
    range="0 and up; 0 to 1 if normalized",
    cost="O(tokens) per head; from the record",
    paper=_PAPER,
    trust=(
        "Norms do not say in which direction: what two tokens or heads bring can cancel, and the residual "
        "connection, LayerNorm and feed-forward layer do not count."
    ),
    needs=("attends_to", "value_norm", "token_mask"),
    dims=("sample", "layer", "head", "token"),
)
def norm_weighted(record: xr.Dataset, *, normalized: bool = False) -> xr.DataArray:
    """Return the norm of what each token adds to the attention output at CLS through one head.

    Over all heads at once, with their directions: `contribution`.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        normalized: Divide by the sum over the real tokens: shares.

    Returns:
        The dims of the row; 0 and up, or shares that sum to 1. NaN at padding; normalized also where all
        norms are 0.

    Raises:
        RecordError: If the record lacks row, mask or `value_norm`, which needs the output projection.
    """
    row = weights_of(record, "attends_to", asked_by="norm_weighted")
    norms = row * need(record, "value_norm", asked_by="norm_weighted")
    return _labeled(norms, record, "norm_weighted", "what each token brings", normalized=normalized)


@measure(
    question="How much does each token bring to CLS through all heads together?",
    definition="‖Σ over heads of a v W_O‖; over its sum if normalized.",
    unit="norm",
    range="0 and up; 0 to 1 if normalized",
    cost="O(tokens) per layer; from the record",
    paper=_PAPER,
    trust=(
        "What tokens bring can cancel between them, so that norms do not add up to the output; the residual "
        "connection, LayerNorm and feed-forward layer do not count."
    ),
    needs=("contribution_norm", "token_mask"),
    dims=("sample", "layer", "token"),
)
def contribution(record: xr.Dataset, *, normalized: bool = False) -> xr.DataArray:
    """Return the norm of what each token adds to the attention output at CLS, all heads together.

    Args:
        record: A record captured with `keep="contributions"`, or a selection that keeps `token`.
        normalized: Divide by the sum over the real tokens: shares.

    Returns:
        The dims of `contribution_norm`; 0 and up, or shares that sum to 1. NaN at padding; normalized also
        where all norms are 0.

    Raises:
        RecordError: If the record lacks `contribution_norm` or the mask.
    """
    norms = need(record, "contribution_norm", asked_by="contribution").astype(float)
    real = norms.where(need(record, "token_mask", asked_by="contribution"))
    return _labeled(real, record, "contribution", "what each token brings", normalized=normalized)


def _labeled(
    norms: xr.DataArray, record: xr.Dataset, name: str, label: str, *, normalized: bool
) -> xr.DataArray:
    """Return the norms, or their shares of the sum over the real tokens, labeled."""
    if not normalized:
        return named(norms, name, long_name=label, units="norm")
    total = norms.where(record["token_mask"], 0.0).sum("token", skipna=False)
    return named(norms / total, name, long_name=f"share of {label}", undefined="all norms are 0")
