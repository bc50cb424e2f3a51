"""Attributions that are compared by name, of the last layer or of all, and what a caller gives instead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
import xarray as xr

from clsight.analysis import MEASURES, gradient_times_attention, norm_weighted, rollout
from clsight.errors import CaptureError, did_you_mean
from clsight.faithfulness.attributed import Scores, fitted, per_token
from clsight.hooks import capture
from clsight.hooks.model_call import model_call
from clsight.hooks.random_streams import undisturbed
from clsight.interventions import value_zeroing


@dataclass(frozen=True)
class Attribution:
    """An attribution that a record gives, or further passes of the model.

    Attributes:
        label: What a sentence calls it.
        needs: Variables of the record that it reads; empty if it reads none.
        keep: What to pass to `clsight.capture` for them.
        read: From the record to `[sample, token]`; from the result of `value_zeroing` if it reads no record.
    """

    label: str
    needs: tuple[str, ...]
    keep: tuple[str, ...]
    read: Callable[[xr.Dataset], xr.DataArray]


def _measured(label: str, name: str, read: Callable[[xr.Dataset], xr.DataArray]) -> Attribution:
    """Return the attribution that a measure of `clsight.analysis` gives."""
    return Attribution(label, MEASURES[name].needs, MEASURES[name].keep, read)


def _last(record: xr.Dataset) -> xr.Dataset:
    return record.isel(layer=-1)


ATTRIBUTIONS: Final[Mapping[str, Attribution]] = {
    "attention": Attribution(
        "raw attention",
        ("attends_to",),
        (),
        lambda record: _last(record)["attends_to"].astype(float).mean("head"),
    ),
    "norm_weighted": _measured(
        "norm-weighted attention",
        "norm_weighted",
        lambda record: norm_weighted(_last(record)).sum("head", skipna=False),
    ),
    "rollout": _measured("rollout", "rollout", rollout),
    "gradient_times_attention": _measured(
        "gradient × attention",
        "gradient_times_attention",
        lambda record: gradient_times_attention(_last(record), sum_heads=True),
    ),
    "value_zeroing": Attribution(
        "value zeroing", (), (), lambda result: result["value_zeroing"].isel(layer=-1)
    ),
}
"""By name: attention of the last layer, mean over heads; the same weighted by the norms of projected values
(Kobayashi et al. 2020, arXiv 2004.10102), sum over heads; rollout through all layers (Abnar & Zuidema 2020,
arXiv 2005.00928); attention times its gradient in the last layer, sign kept, sum over heads (Barkan et al.
2021, arXiv 2204.11073); and value zeroing in the last layer (Mohebbi et al. 2023, arXiv 2301.12971)."""

Given = Callable[[Any, Any], xr.DataArray] | xr.DataArray
Measures = str | Sequence[str] | Mapping[str, str | Given] | None

RESERVED: Final = ("random", "evidence")
"""Rows that every comparison adds: a random ranking, and the known evidence as an oracle."""


def named_measures(measures: Measures) -> dict[str, str | Given]:
    """Return what is to be compared by name: names in `ATTRIBUTIONS`, functions, or arrays.

    Raises:
        CaptureError: If a name is unknown, taken, or none is given.
    """
    stated = list(ATTRIBUTIONS) if measures is None else [measures] if isinstance(measures, str) else measures
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
            "measures", expected="one or more", got="none", next_step="Leave it out for all that are known"
        )
    return given


@dataclass(frozen=True)
class Measuring:
    """How a model is measured on one batch.

    Attributes:
        model: A subject or a module.
        inputs: The batch, as the caller gave it.
        seed: Start of the random streams.
        output: From the module's output to its logits; None to find them.
        stated: What is stated of the call: `cls_index`, `token_mask`, `within`.
    """

    model: Any
    inputs: Any
    seed: int = 0
    output: Any = None
    stated: Mapping[str, Any] = field(default_factory=dict)

    def record(self, keep: Sequence[str] = (), target: Any = None) -> xr.Dataset:
        """Return a record of the batch.

        Args:
            keep: As for `clsight.capture`.
            target: One class per sample, for gradients; None for the predicted class.
        """
        asked = {"keep": keep, "output": self.output, **self.stated}
        if "gradient" in keep and target is not None:
            asked["target"] = torch.as_tensor(target)
        with undisturbed(model_call(self.model, self.inputs, **self.stated).module, self.seed):
            return capture(self.model, self.inputs, **asked)

    def arrays(
        self, measures: Mapping[str, str | Given], sizes: tuple[int, int], target: Any, *, asked_by: str
    ) -> tuple[dict[str, Scores], dict[str, str]]:
        """Return the attributions `[sample, token]` by name, and why some are absent.

        Args:
            measures: Names in `ATTRIBUTIONS`, arrays, or functions, by their own names.
            sizes: Number of samples and tokens.
            target: One class per sample, for gradients; None for the predicted class.
            asked_by: The subject of messages.
        """
        known = [ATTRIBUTIONS[what] for what in measures.values() if isinstance(what, str)]
        keep = tuple(dict.fromkeys(name for one in known for name in one.keep))
        record = self.record(keep or ("vectors",), target) if any(one.needs for one in known) else None
        found, absent = {}, {}
        for name, what in measures.items():
            if isinstance(what, str):
                given, why = self._known(ATTRIBUTIONS[what], record)
            else:
                given, why = (what if isinstance(what, xr.DataArray) else what(self.model, self.inputs)), ""
            if why:
                absent[name] = why
                continue
            array = fitted(per_token(given, name, asked_by=asked_by), sizes, name, asked_by=asked_by)
            found[name] = array.values.astype(float)
        return found, absent

    def _known(self, attribution: Attribution, record: xr.Dataset | None) -> tuple[Any, str]:
        """Return a known attribution, or None and why the model has none."""
        if record is None or not attribution.needs:
            try:
                result = value_zeroing(
                    self.model, self.inputs, layers=-1, seed=self.seed, progress=False, **self.stated
                )
            except CaptureError as refusal:  # class attention, half precision: told beside the missing score
                return None, str(refusal)
            return attribution.read(result), ""
        for name in attribution.needs:
            if name not in record:
                why = record.attrs.get("absent", {}).get(name, "not captured")
                return None, f"the record has no `{name}`: {why}"
        return attribution.read(record), ""
