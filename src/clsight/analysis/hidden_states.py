"""Is CLS, in the residual stream, carried by a few enormous channels? Norms, ratios, massive activations."""

import numpy as np
import xarray as xr

from clsight.analysis.registry import measure
from clsight.analysis.weights import named
from clsight.errors import RecordError
from clsight.records.checking import need

_MASSIVE = "Sun et al. 2024, Massive Activations in Large Language Models, arXiv 2402.17762"


@measure(
    question="Which channels of CLS hold massive activations?",
    definition="|x| > 100 and |x| ≥ 1000 × the median of |x| over the channels of CLS: 1, else 0.",
    unit="",
    range="0 or 1",
    cost="O(channels) per depth; from the record",
    paper=_MASSIVE,
    trust=(
        "The paper takes the median over all tokens, here it is that of CLS; both thresholds were chosen for "
        "large language models, and smaller ones can have outliers below them: see largest_activation."
    ),
    needs=("hidden",),
    dims=("sample", "depth", "channel"),
)
def massive_activations(
    record: xr.Dataset, *, threshold: float = 100.0, ratio: float = 1000.0
) -> xr.DataArray:
    """Return 1 where a channel of CLS is massive, else 0; its sum over `channel` counts them.

    Args:
        record: A record captured with `keep="hidden"`, or a selection that keeps `channel`.
        threshold: What the absolute value must exceed, positive.
        ratio: How many times the median absolute value over channels it must reach, positive.

    Returns:
        The dims of `hidden`; 0 or 1, NaN where the state is NaN. `attrs` hold both thresholds.

    Raises:
        RecordError: If the record lacks `hidden`, or a threshold is not positive.
    """
    size = _magnitude(record, asked_by="massive_activations")
    for name, value in (("threshold", threshold), ("ratio", ratio)):
        if not value > 0:
            raise RecordError(
                "massive_activations",
                expected=f"a positive `{name}`",
                got=repr(value),
                next_step="Sun et al. use threshold=100 and ratio=1000",
            )
    massive = (size > threshold) & (size >= ratio * size.median("channel", skipna=False))
    result = named(
        massive.astype(np.float64).where(size.notnull()),
        "massive_activations",
        long_name=f"massive: above {threshold:g} and {ratio:g} × the median",
    )
    return result.assign_attrs(threshold=float(threshold), ratio=float(ratio))


@measure(
    question="By how much does the largest channel of CLS stand out?",
    definition="Largest |x| over the channels of CLS, over the median of |x|.",
    unit="× median",
    range="1 (all channels alike) and up; about 5 for 400 normally distributed channels",
    cost="O(channels) per depth; from the record",
    paper=_MASSIVE,
    trust="Grows slowly with the number of channels even without outliers, and hides how many there are.",
    needs=("hidden",),
    dims=("sample", "depth"),
)
def largest_activation(record: xr.Dataset) -> xr.DataArray:
    """Return the largest absolute value of CLS over the median one, before the first block and after each.

    Args:
        record: A record captured with `keep="hidden"`, or a selection that keeps `channel`.

    Returns:
        The dims of `hidden` without `channel`; at least 1. NaN where the median is 0, as for a CLS of zeros.

    Raises:
        RecordError: If the record lacks `hidden`.
    """
    size = _magnitude(record, asked_by="largest_activation")
    median = size.median("channel", skipna=False)
    return named(
        size.max("channel", skipna=False) / median.where(median > 0),
        "largest_activation",
        long_name="largest activation over the median",
        units="× median",
        undefined="half of the channels or more are 0",
    )


@measure(
    question="How large is CLS in the residual stream?",
    definition="‖x‖₂ over the channels of CLS.",
    unit="norm",
    range="0 and up",
    cost="O(channels) per depth; from the record",
    paper="Darcet et al. 2023, Vision Transformers Need Registers, arXiv 2309.16588",
    trust=(
        "Norms compare within one model alone; the cutoff of 150 in the paper was picked by hand for the "
        "patches of one model, and pre-norm models grow with depth anyway."
    ),
    needs=("hidden",),
    dims=("sample", "depth"),
)
def hidden_norm(record: xr.Dataset) -> xr.DataArray:
    """Return the norm of CLS before the first block and after each.

    Args:
        record: A record captured with `keep="hidden"`, or a selection that keeps `channel`.

    Returns:
        The dims of `hidden` without `channel`; 0 and up.

    Raises:
        RecordError: If the record lacks `hidden`.
    """
    size = _magnitude(record, asked_by="hidden_norm")
    norm: xr.DataArray = xr.apply_ufunc(np.sqrt, (size**2).sum("channel", skipna=False))
    return named(norm, "hidden_norm", long_name="norm of CLS", units="norm")


def _magnitude(record: xr.Dataset, *, asked_by: str) -> xr.DataArray:
    """Return |x| of every channel of CLS in float64."""
    hidden = need(record, "hidden", asked_by=asked_by)
    if "channel" not in hidden.dims:
        raise RecordError(
            asked_by,
            expected="a record with a `channel` dimension",
            got=f"dims ({', '.join(map(str, hidden.dims))})",
            next_step="Select channels after this function, not before",
        )
    size: xr.DataArray = abs(hidden.astype(np.float64))
    return size
