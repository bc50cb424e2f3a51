"""The attributions that are known by name: read off a record, or given by an intervention."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import xarray as xr

from clsight.analysis import MEASURES, contribution, gradient_times_attention, norm_weighted, rollout
from clsight.errors import CaptureError, did_you_mean
from clsight.interventions import INTERVENTIONS
from clsight.interventions.integrated import CLOSED

Read = Callable[[xr.Dataset], xr.DataArray]


@dataclass(frozen=True)
class Attribution:
    """An attribution that a record gives, or further passes of the model.

    Attributes:
        label: What a sentence calls it.
        how: Of which layers and heads it is.
        paper: Where it comes from.
        read: From the record, or from what the intervention returned, to `[sample, token]`.
        needs: Variables of the record that it reads.
        keep: What to pass to `clsight.capture` for them.
        intervention: Its name in `clsight.interventions.INTERVENTIONS`; empty if a record is enough.
        options: Keywords that are passed to the intervention.
        asks: Which of target and output it takes beside them.
        many_passes: Whether it takes dozens of passes; such a one is compared only when it is named.
    """

    label: str
    how: str
    paper: str
    read: Read
    needs: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    intervention: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    asks: tuple[str, ...] = ()
    many_passes: bool = False

    @property
    def is_of_target(self) -> bool:
        """Whether it explains one class rather than what CLS becomes."""
        return "target" in self.asks or "gradient" in self.keep


def _measured(label: str, how: str, name: str, read: Read) -> Attribution:
    """Return the attribution that a measure of `clsight.analysis` gives."""
    one = MEASURES[name]
    return Attribution(label, how, one.paper, read, one.needs, one.keep)


def _intervened(label: str, how: str, name: str, read: Read, **fields: Any) -> Attribution:
    """Return the attribution that a function of `clsight.interventions` gives."""
    return Attribution(label, how, INTERVENTIONS[name].paper, read, intervention=name, **fields)


def _last(record: xr.Dataset) -> xr.Dataset:
    return record.isel(layer=-1)


_OF_TARGET: Final = ("target", "output")

ATTRIBUTIONS: Final[Mapping[str, Attribution]] = {
    "attention": Attribution(
        "raw attention",
        "last layer, mean over heads",
        "",
        lambda record: _last(record)["attends_to"].astype(float).mean("head"),
        needs=("attends_to",),
    ),
    "norm_weighted": _measured(
        "norm-weighted attention",
        "last layer, sum over heads",
        "norm_weighted",
        lambda record: norm_weighted(_last(record)).sum("head", skipna=False),
    ),
    "contribution": _measured(
        "norm of contributions",
        "last layer, heads summed as vectors",
        "contribution",
        lambda record: contribution(_last(record)),
    ),
    "norm_weighted_residual": _intervened(
        "norm-weighted attention with residual and LayerNorm",
        "last layer",
        "norm_weighted_residual",
        lambda result: _last(result)["norm_weighted_residual"],
    ),
    "effective_attention": _intervened(
        "effective attention",
        "last layer, mean over heads",
        "effective_attention",
        lambda result: _last(result)["effective_attention"].mean("head", skipna=False),
    ),
    "value_zeroing": _intervened(
        "value zeroing",
        "last layer",
        "value_zeroing",
        lambda result: _last(result)["value_zeroing"],
        options={"layers": -1, "progress": False},
    ),
    "rollout": _measured("rollout", "all layers", "rollout", rollout),
    "attention_flow": _intervened(
        "attention flow",
        "all layers",
        "attention_flow",
        lambda result: result["attention_flow"],
        many_passes=True,
    ),
    "alti": _intervened("ALTI", "all layers", "alti", lambda result: result["alti"]),
    "globenc": _intervened("GlobEnc", "all layers", "globenc", lambda result: result["globenc"]),
    "gradient_times_attention": _measured(
        "gradient × attention",
        "last layer, sum over heads, sign kept",
        "gradient_times_attention",
        lambda record: gradient_times_attention(_last(record), sum_heads=True),
    ),
    "chefer": _intervened(
        "Chefer's relevance", "all layers", "chefer", lambda result: result["chefer"], asks=_OF_TARGET
    ),
    "chefer_lrp": _intervened(
        "Chefer's relevance by LRP",
        "all layers",
        "chefer_lrp",
        lambda result: result["chefer_lrp"],
        asks=_OF_TARGET,
    ),
    "direct_logit_attribution": _intervened(
        "direct logit attribution",
        "sum over layers and heads",
        "direct_logit_attribution",
        lambda result: result["attention"].sum(("layer", "head"), skipna=False),
        asks=_OF_TARGET,
    ),
    "integrated_gradients": _intervened(
        "integrated gradients",
        "of what enters the first layer, from zeros; NaN where the integral does not close",
        "integrated_gradients",
        lambda result: result["integrated_gradients"].where(
            abs(result["completeness_gap"]) <= CLOSED * abs(result["target_change"])
        ),
        asks=_OF_TARGET,
        many_passes=True,
    ),
}
"""Every attribution by name: of the last layer or of all, of what CLS becomes or of the predicted class."""

Given = Callable[[Any, Any], xr.DataArray] | xr.DataArray
Measures = str | Sequence[str] | Mapping[str, str | Given] | None

RESERVED: Final = ("random", "evidence")
"""Rows that every comparison adds: a random ranking, and the known evidence as an oracle."""


def named_measures(measures: Measures) -> dict[str, str | Given]:
    """Return what is to be compared by name: names in `ATTRIBUTIONS`, functions, or arrays.

    None stands for all that take a few passes.

    Raises:
        CaptureError: If a name is unknown, taken, or none is given.
    """
    few = [name for name, one in ATTRIBUTIONS.items() if not one.many_passes]
    stated = few if measures is None else [measures] if isinstance(measures, str) else measures
    given: dict[str, str | Given] = (
        dict(stated) if isinstance(stated, Mapping) else {name: name for name in stated}
    )
    for name, what in given.items():
        unknown = isinstance(what, str) and what not in ATTRIBUTIONS
        if unknown or name in RESERVED or not (callable(what) or isinstance(what, str | xr.DataArray)):
            raise CaptureError(
                "measures",
                expected="names of known attributions, or a mapping from your own names to them, to arrays "
                f"[sample, token] or to functions of model and inputs; {' and '.join(RESERVED)} are taken",
                got=repr(name if isinstance(what, str) else {name: type(what).__name__}),
                next_step=did_you_mean(str(what if isinstance(what, str) else name), ATTRIBUTIONS),
            )
    if not given:
        raise CaptureError(
            "measures", expected="one or more", got="none", next_step="Leave it out for the usual ones"
        )
    return given
