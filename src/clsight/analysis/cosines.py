"""Does CLS change on its way through the layers, or between models? Cosines of its states by sample."""

import numpy as np
import xarray as xr

from clsight.analysis.registry import measure
from clsight.analysis.weights import named
from clsight.errors import RecordError
from clsight.records.checking import need
from clsight.records.sameness import check_same_inputs
from clsight.schema import DIMS


@measure(
    question="How alike is CLS after different layers?",
    definition="Cosine of the states of CLS at two depths, for each sample.",
    unit="",
    range="−1 to 1",
    cost="O(depths² × channels) per sample; from the record",
    paper="Ethayarajh 2019, How Contextual are Contextualized Word Representations?, arXiv 1909.00512",
    trust=(
        "A few large channels, or a part that all inputs share, can decide it (see largest_activation): "
        "compare with cka, which takes away what all inputs share."
    ),
    needs=("hidden",),
    dims=("sample", "depth", "other_depth"),
)
def similarity(record: xr.Dataset, *, to: xr.Dataset | None = None) -> xr.DataArray:
    """Return the cosine of CLS at each depth and CLS at each other depth, of the same or another model.

    Args:
        record: A record captured with `keep="hidden"`, plain or stacked, or a selection that keeps `channel`.
        to: A record of the same inputs whose channels mean the same: the same model with another start of
            CLS, or after more training. Models trained apart share no channels: see `cka`.

    Returns:
        The dims of `hidden` without `channel`, then `other_depth`, that of `to`; in [−1, 1]. NaN where a
        state is all zeros, as the start of a CLS of zeros is.

    Raises:
        RecordError: If a record lacks `hidden`, or inputs or channels differ.
    """
    first = _unit(need(record, "hidden", asked_by="similarity"))
    second = first if to is None else _comparable(record, to)
    renamed = second.rename(depth="other_depth") if "depth" in second.dims else second
    product: xr.DataArray = xr.dot(first, renamed, dim="channel")
    ordered = product.clip(-1.0, 1.0).transpose(
        *(dim for dim in (*DIMS, "other_depth") if dim in product.dims)
    )
    return named(ordered, "similarity", long_name="cosine of CLS", undefined="a state of CLS is all zeros")


def _comparable(record: xr.Dataset, to: xr.Dataset) -> xr.DataArray:
    """Return the states of the other record, if it is of the same inputs and has as many channels."""
    check_same_inputs({"record": record, "to": to}, asked_by="similarity")
    other = need(to, "hidden", asked_by="similarity")
    here, there = record.sizes.get("channel"), other.sizes.get("channel")
    if here != there:
        raise RecordError(
            "similarity",
            expected="two records with the same number of channels",
            got=f"{here} and {there}",
            next_step="Models of different widths: clsight.analysis.cka(record, to=other)",
        )
    return _unit(other.assign_coords(sample=record["sample"]) if "sample" in other.dims else other)


def _unit(states: xr.DataArray) -> xr.DataArray:
    """Return the states over their norms, in float64; NaN where a state is all zeros."""
    if "channel" not in states.dims:
        raise RecordError(
            "similarity",
            expected="a record with a `channel` dimension",
            got=f"dims ({', '.join(map(str, states.dims))})",
            next_step="Select channels after this function, not before",
        )
    exact = states.astype(np.float64)
    norm: xr.DataArray = xr.apply_ufunc(np.sqrt, (exact**2).sum("channel", skipna=False))
    return exact / norm  # 0/0 is NaN
