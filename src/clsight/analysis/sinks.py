"""Is CLS, or another token, an attention sink? The share of heads that pour most of their attention there."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from clsight.analysis.registry import measure
from clsight.analysis.weights import checked_dims, is_cls, named, token_count, weights_of
from clsight.errors import RecordError
from clsight.records.checking import need

_PAPER = "Gu et al. 2024, When Attention Sink Emerges in Language Models, arXiv 2410.10781"
_TRUST = (
    "The rate depends on epsilon and on the number of tokens, which its attributes hold; it does not tell a "
    "sink (value near zero) from a token that is read."
)


@measure(
    question="In what share of heads do the other tokens attend to CLS above a threshold?",
    definition="Mean over heads of [α > ε], α = mean of the CLS column without padding and the CLS query.",
    unit="",
    range="0 (no head) to 1 (every head)",
    cost="O(tokens) per head; from the record",
    paper=_PAPER,
    trust=_TRUST,
    needs=("attended_by", "token_mask"),
    dims=("sample",),
)
def sink_rate(
    record: xr.Dataset, *, epsilon: float = 0.3, over: str | Sequence[str] = ("layer", "head")
) -> xr.DataArray:
    """Return the share of heads in which the other tokens put more than `epsilon` on CLS, on average.

    Args:
        record: A plain or stacked record, or a selection that keeps `token`.
        epsilon: The threshold, above 0 and below 1.
        over: Dims of the heads that are counted; `()` says of each head whether it is one, 1 or 0.

    Returns:
        The remaining dims; in [0, 1]; `attrs` hold `epsilon` and `tokens`, the smallest and largest number of
        real tokens. Layers without a column (class attention) do not count; NaN where nothing does.

    Raises:
        RecordError: If the record lacks the column or the mask, has no such dim, or epsilon is no threshold.
    """
    column = weights_of(record, "attended_by", asked_by="sink_rate")
    others = column.where(~is_cls(record, asked_by="sink_rate"))
    return _rate(others.mean("token"), record, epsilon=epsilon, over=over, name="sink_rate", whom="CLS")


@measure(
    question="In what share of heads is a token, whichever it is, a sink?",
    definition="Mean over heads of [α > ε], α = mean weight that the token receives from all real tokens.",
    unit="",
    range="0 (no head) to 1 (every head)",
    cost="O(heads) per token; from the record",
    paper=_PAPER,
    trust=_TRUST,
    needs=("received", "token_mask"),
    dims=("sample", "token"),
)
def token_sink_rate(
    record: xr.Dataset, *, epsilon: float = 0.3, over: str | Sequence[str] = ("layer", "head")
) -> xr.DataArray:
    """Return, for every token, the share of heads in which it receives more than `epsilon` on average.

    Unlike in `sink_rate`, the mean counts the token's own query: that is what `received` holds.

    Args:
        record: A record captured with `keep="received"`, or a selection that keeps `token`.
        epsilon: The threshold, above 0 and below 1.
        over: Dims of the heads that are counted.

    Returns:
        The remaining dims with `token`; in [0, 1]; `attrs` as in `sink_rate`. NaN at padding.

    Raises:
        RecordError: If the record lacks `received` or the mask, has no such dim, or epsilon is no threshold.
    """
    received = need(record, "received", asked_by="token_sink_rate")
    received = received.where(need(record, "token_mask", asked_by="token_sink_rate"))
    return _rate(received, record, epsilon=epsilon, over=over, name="token_sink_rate", whom="each token")


def _rate(
    means: xr.DataArray,
    record: xr.Dataset,
    *,
    epsilon: float,
    over: str | Sequence[str],
    name: str,
    whom: str,
) -> xr.DataArray:
    """Return the mean of [α > ε] over the chosen dims, labeled with ε and the number of tokens."""
    if not 0 < epsilon < 1:
        raise RecordError(
            name,
            expected="an `epsilon` above 0 and below 1",
            got=repr(epsilon),
            next_step="Gu et al. use 0.3",
        )
    dims = checked_dims(means, over, asked_by=name)
    rate = (means > epsilon).astype(np.float64).where(means.notnull()).mean(dims, skipna=True)
    count = token_count(record, asked_by=name)
    tokens = sorted({int(count.min()), int(count.max())})
    label = f"share of heads with more than {epsilon:g} on {whom}, {' to '.join(map(str, tokens))} tokens"
    result = named(rate, name, long_name=label, undefined="no head has a column, as under class attention")
    return result.assign_attrs(epsilon=float(epsilon), tokens=[tokens[0], tokens[-1]])
