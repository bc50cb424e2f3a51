"""Does CLS look at few tokens or at many? Entropy of its weights, and the same as a number of tokens."""

from typing import Final

import numpy as np
import xarray as xr
from scipy.special import entr

from clsight.analysis.registry import DIRECT_TRUST, measure
from clsight.analysis.weights import named, weights_of
from clsight.schema import Direction

_UNDEFINED: Final[dict[Direction, str]] = {"attends_to": "", "attended_by": "a column sums to 0"}


@measure(
    question="How widely does CLS spread its attention?",
    definition="−Σ a ln a over the real tokens, 0·ln 0 = 0; divided by ln n when normalized.",
    unit="nats",
    range="0 (one token) to ln n (all n tokens alike)",
    cost="O(tokens) per head; from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=f"Not comparable between lengths unless normalized. {DIRECT_TRUST}",
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "head"),
)
def entropy(
    record: xr.Dataset, *, direction: Direction = "attends_to", normalized: bool = False
) -> xr.DataArray:
    """Return the Shannon entropy of the CLS weights, natural logarithm, 0·ln 0 = 0.

    The row is a distribution as it stands. The column has no sum rule: it is first divided by its sum over
    the real tokens, so that the result says how many tokens share the attention that CLS receives.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        direction: `attends_to` (row) or `attended_by` (column).
        normalized: Divide by ln n, n = number of tokens that count; NaN where n = 1.

    Returns:
        The dims of the record without `token`; nats in [0, ln n], or in [0, 1] if normalized. NaN where a
        weight of the row is NaN, and where a column sums to 0.

    Raises:
        RecordError: If the record lacks the weights or the mask.

    Example:
        Two tokens at weight ½ each give ln 2 = 0.693 nats, normalized 1.
    """
    nats, counted = _nats(record, direction, asked_by="entropy")
    if not normalized:
        return named(nats, "entropy", long_name="entropy", units="nats", undefined=_UNDEFINED[direction])
    count = counted.sum("token")
    largest: xr.DataArray = xr.apply_ufunc(np.log, count.where(count > 1))
    return named(
        nats / largest,
        "entropy",
        long_name="entropy over its largest possible value",
        undefined=" or ".join(filter(None, ["one token alone counts", _UNDEFINED[direction]])),
    )


@measure(
    question="At how many tokens does CLS look, in effect?",
    definition="exp(entropy): the number of equally weighted tokens that has the same entropy.",
    unit="tokens",
    range="1 to n, the number of real tokens",
    cost="O(tokens) per head; from the record",
    paper="Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
    trust=f"One strong and many weak weights can give the same number as a few middling ones. {DIRECT_TRUST}",
    needs=("attends_to", "token_mask"),
    dims=("sample", "layer", "head"),
)
def effective_tokens(record: xr.Dataset, *, direction: Direction = "attends_to") -> xr.DataArray:
    """Return exp(entropy), the number of equally weighted tokens that has the same entropy.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        direction: `attends_to` (row) or `attended_by` (column); see `entropy`.

    Returns:
        The dims of the record without `token`; tokens, in [1, n].

    Raises:
        RecordError: If the record lacks the weights or the mask.
    """
    nats, _ = _nats(record, direction, asked_by="effective_tokens")
    tokens: xr.DataArray = xr.apply_ufunc(np.exp, nats)
    return named(
        tokens,
        "effective_tokens",
        long_name="effective tokens",
        units="tokens",
        undefined=_UNDEFINED[direction],
    )


def _nats(record: xr.Dataset, direction: Direction, *, asked_by: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the entropy, and which tokens counted."""
    weights = weights_of(record, direction, asked_by=asked_by)
    counted = record["token_mask"]
    if direction == "attended_by":
        counted = weights.notnull()
        weights = weights / weights.sum("token", skipna=True, min_count=1)
    terms: xr.DataArray = xr.apply_ufunc(entr, weights.where(counted, 0.0))
    return terms.sum("token", skipna=False), counted
