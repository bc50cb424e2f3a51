"""What CLS attends to and who attends to it, on average over any named dims."""

from collections.abc import Sequence

import xarray as xr

from clsight.analysis.registry import DIRECT_TRUST, measure
from clsight.analysis.weights import checked_dims, is_cls, named, weights_of


@measure(
    question="Which tokens does CLS attend to, on average over heads?",
    definition="Mean of the CLS row over the chosen dims, padding left out.",
    unit="",
    range="0 to 1",
    cost="O(heads × tokens) per layer; from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=f"A mean over heads hides what a single head does. {DIRECT_TRUST}",
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "token"),
)
def mean_attends_to(record: xr.Dataset, *, over: str | Sequence[str] = "head") -> xr.DataArray:
    """Return the mean CLS row over the chosen dims.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        over: Name or names of dims to average over. Over `sample`, a token position counts the samples that
            have a real token there.

    Returns:
        The remaining dims; in [0, 1], NaN where there is only padding. Means over `head` or `layer` still sum
        to 1 over `token`; a mean over `token` is the uniform share 1/n.

    Raises:
        RecordError: If the record lacks the row or the mask, or has no such dim.
    """
    weights = weights_of(record, "attends_to", asked_by="mean_attends_to")
    dims = checked_dims(weights, over, asked_by="mean_attends_to")
    return named(weights.mean(dims, skipna=True), "mean_attends_to", long_name="mean weight of the CLS query")


@measure(
    question="How much do the other tokens attend to CLS?",
    definition="Mean of the CLS column over the chosen dims, without padding and the CLS query itself.",
    unit="",
    range="0 to 1",
    cost="O(tokens) per head; from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=(
        "Much attention on CLS can mean a sink (key needed, value near zero) instead of CLS being read "
        "(Gu et al. 2024, arXiv 2410.10781)."
    ),
    needs=("attended_by", "token_mask"),
    dims=("sample", "layer", "head"),
)
def mean_attended_by(
    record: xr.Dataset, *, over: str | Sequence[str] = "token", include_cls: bool = False
) -> xr.DataArray:
    """Return the mean CLS column over the chosen dims: the share of attention that others put on CLS.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        over: Name or names of dims to average over. Padding never counts.
        include_cls: Count the CLS query itself too.

    Returns:
        The remaining dims; in [0, 1]. NaN where nothing counts: padding, and CLS itself unless included.

    Raises:
        RecordError: If the record lacks the column or the mask, or has no such dim.
    """
    weights = weights_of(record, "attended_by", asked_by="mean_attended_by")
    dims = checked_dims(weights, over, asked_by="mean_attended_by")
    if not include_cls:
        weights = weights.where(~is_cls(record, asked_by="mean_attended_by"))
    return named(
        weights.mean(dims, skipna=True),
        "mean_attended_by",
        long_name="mean weight on CLS",
        undefined="there is no query that counts, as under class attention",
    )
