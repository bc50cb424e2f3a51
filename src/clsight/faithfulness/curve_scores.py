"""One number per sample from its deletion and insertion curve: ERASER's two, their means, and two areas."""

import numpy as np
import xarray as xr

from clsight.errors import RecordError
from clsight.faithfulness.attributed import sample_coords, scored
from clsight.faithfulness.registry import OFF_DISTRIBUTION, metric

_ERASER = "DeYoung et al. 2020, ERASER, arXiv 1911.03429"
_RISE = "Petsiuk et al. 2018, RISE, arXiv 1806.07421"
_COST = "one forward pass per point of the curves"


@metric(
    question="How much of the answer is lost without the tokens ranked first?",
    definition="p(x) − p(x without its highest 20 %), p of the class predicted for x; tokens rounded up.",
    unit="probability",
    range="−1 to 1",
    better="higher",
    cost=_COST,
    paper=_ERASER,
    trust=f"{OFF_DISTRIBUTION}; where tokens repeat each other, the rest still answers.",
    needs=("curves",),
)
def comprehensiveness(curves: xr.Dataset, *, fraction: float = 0.2) -> xr.DataArray:
    """Return p(x) − p(x without the top tokens) per sample, in [−1, 1]; higher is more faithful.

    ERASER (arXiv:1911.03429). NaN where the curves are, with the reason in the coordinate `reason`.

    Args:
        curves: What `removal_curves` returned.
        fraction: Share of the tokens that is removed, one of the curves' own.

    Raises:
        RecordError: If these are no curves, or the fraction is none of theirs.
    """
    without = _at(curves, "deletion", fraction, asked_by="comprehensiveness")
    return _score(curves, _whole(curves) - without, "comprehensiveness", units="probability")


@metric(
    question="How much of the answer is lost with the tokens ranked first alone?",
    definition="p(x) − p(the highest 20 % of x alone), special tokens kept; tokens rounded up.",
    unit="probability",
    range="−1 to 1",
    better="lower",
    cost=_COST,
    paper=_ERASER,
    trust=f"{OFF_DISTRIBUTION}; a model that answers without any token makes every ranking sufficient.",
    needs=("curves",),
)
def sufficiency(curves: xr.Dataset, *, fraction: float = 0.2) -> xr.DataArray:
    """Return p(x) − p(the top tokens alone) per sample, in [−1, 1]; lower is more faithful.

    ERASER (arXiv:1911.03429). NaN where the curves are, with the reason in the coordinate `reason`.

    Args:
        curves: What `removal_curves` returned.
        fraction: Share of the tokens that stays, one of the curves' own.

    Raises:
        RecordError: If these are no curves, or the fraction is none of theirs.
    """
    alone = _at(curves, "insertion", fraction, asked_by="sufficiency")
    return _score(curves, _whole(curves) - alone, "sufficiency", units="probability")


@metric(
    question="How much of the answer is lost as the tokens ranked first go, on average?",
    definition="Mean over 10 %, 20 %, …, 100 % of p(x) − p(x without the highest), 0 % left out.",
    unit="probability",
    range="−1 to 1",
    better="higher",
    cost=_COST,
    paper=f"{_ERASER}; Samek et al. 2017, arXiv 1509.06321",
    trust=f"{OFF_DISTRIBUTION}; at 100 % all rankings are the same, so that differences are diluted.",
    needs=("curves",),
)
def aopc_comprehensiveness(curves: xr.Dataset) -> xr.DataArray:
    """Return comprehensiveness averaged over all fractions above 0; higher is more faithful.

    Args:
        curves: What `removal_curves` returned.

    Raises:
        RecordError: If these are no curves.
    """
    return _aopc(curves, "deletion", "aopc_comprehensiveness")


@metric(
    question="How much of the answer is missing while only the tokens ranked first are there, on average?",
    definition="Mean over 10 %, 20 %, …, 100 % of p(x) − p(the highest alone), 0 % left out.",
    unit="probability",
    range="−1 to 1",
    better="lower",
    cost=_COST,
    paper=f"{_ERASER}; Samek et al. 2017, arXiv 1509.06321",
    trust=f"{OFF_DISTRIBUTION}; at 100 % nothing is missing, so that differences are diluted.",
    needs=("curves",),
)
def aopc_sufficiency(curves: xr.Dataset) -> xr.DataArray:
    """Return sufficiency averaged over all fractions above 0; lower is more faithful.

    Args:
        curves: What `removal_curves` returned.

    Raises:
        RecordError: If these are no curves.
    """
    return _aopc(curves, "insertion", "aopc_sufficiency")


@metric(
    question="How soon does the answer fall when the tokens ranked first go?",
    definition="Area under p(x without the highest) over the share removed, 0 to 1, by trapezoids.",
    unit="probability",
    range="0 to 1",
    better="lower",
    cost=_COST,
    paper=_RISE,
    trust=f"{OFF_DISTRIBUTION}; it falls for every ranking if the model answers less surely by nature.",
    needs=("curves",),
)
def deletion_area(curves: xr.Dataset) -> xr.DataArray:
    """Return the area under the deletion curve per sample, in [0, 1]; lower is more faithful.

    RISE (arXiv:1806.07421), over the share of tokens that is really removed.

    Args:
        curves: What `removal_curves` returned.

    Raises:
        RecordError: If these are no curves.
    """
    return _area(curves, "deletion", "deletion_area")


@metric(
    question="How soon does the answer rise when the tokens ranked first come?",
    definition="Area under p(the highest of x alone) over the share inserted, 0 to 1, by trapezoids.",
    unit="probability",
    range="0 to 1",
    better="higher",
    cost=_COST,
    paper=_RISE,
    trust=f"{OFF_DISTRIBUTION}; it is high for every ranking if special tokens alone give the answer.",
    needs=("curves",),
)
def insertion_area(curves: xr.Dataset) -> xr.DataArray:
    """Return the area under the insertion curve per sample, in [0, 1]; higher is more faithful.

    RISE (arXiv:1806.07421), over the share of tokens that is really there.

    Args:
        curves: What `removal_curves` returned.

    Raises:
        RecordError: If these are no curves.
    """
    return _area(curves, "insertion", "insertion_area")


def _curve(curves: xr.Dataset, name: str, *, asked_by: str) -> xr.DataArray:
    """Return one curve `[sample, fraction]`."""
    if not isinstance(curves, xr.Dataset) or not {"deletion", "insertion", "removed"} <= set(curves):
        raise RecordError(
            asked_by,
            expected="the curves that clsight.faithfulness.removal_curves returned",
            got=f"an object of type {type(curves).__name__}",
            next_step="Compute them from a model, its inputs and an attribution first",
        )
    return curves[name]


def _whole(curves: xr.Dataset) -> xr.DataArray:
    """Return the probability with all tokens there."""
    return curves["deletion"].isel(fraction=0, drop=True)


def _at(curves: xr.Dataset, name: str, fraction: float, *, asked_by: str) -> xr.DataArray:
    curve = _curve(curves, name, asked_by=asked_by)
    own = curve["fraction"].values
    near = np.flatnonzero(np.isclose(own, fraction, rtol=0, atol=1e-9))
    if not len(near) or fraction == 0:
        raise RecordError(
            asked_by,
            expected=f"`fraction` among those of the curves: {', '.join(f'{one:g}' for one in own[1:])}",
            got=repr(fraction),
            next_step="Choose one of them, or compute curves of more steps=",
        )
    return curve.isel(fraction=int(near[0]), drop=True)


def _aopc(curves: xr.Dataset, curve: str, name: str) -> xr.DataArray:
    values = _curve(curves, curve, asked_by=name)
    lost = _whole(curves) - values.isel(fraction=slice(1, None))
    return _score(curves, lost.mean("fraction", skipna=False), name, units="probability")


def _area(curves: xr.Dataset, curve: str, name: str) -> xr.DataArray:
    values = _curve(curves, curve, asked_by=name)
    heights = values.transpose("sample", "fraction").values
    shares = curves["removed"].transpose("sample", "fraction").values
    areas = np.trapezoid(heights, shares)
    return _score(curves, xr.DataArray(areas, dims="sample"), name, units="probability")


def _score(curves: xr.Dataset, values: xr.DataArray, name: str, *, units: str) -> xr.DataArray:
    reasons = curves["reason"].values.tolist()
    return scored(values.values, reasons, name, coords=sample_coords(curves), units=units)
