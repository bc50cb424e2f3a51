"""A model and one batch, and the attributions that they give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import xarray as xr

from clsight.errors import CaptureError, CheckpointError
from clsight.faithfulness.attributed import Scores, fitted, per_token
from clsight.faithfulness.attributions import ATTRIBUTIONS, Attribution, Given
from clsight.hooks import capture
from clsight.hooks.model_call import model_call
from clsight.hooks.random_streams import undisturbed
from clsight.interventions import INTERVENTIONS


@dataclass(frozen=True)
class Measuring:
    """How a model is measured on one batch.

    Attributes:
        model: A subject or a module.
        inputs: The batch, as the caller gave it.
        seed: Start of the random streams.
        output: From the module's output to its logits; None to find them.
        stated: What is stated of the call: `cls_index`, `token_mask`, `within`.
        draws: Passes over whose mean an intervention is taken, if the model draws at random.
    """

    model: Any
    inputs: Any
    seed: int = 0
    output: Any = None
    stated: Mapping[str, Any] = field(default_factory=dict)
    draws: int = 1

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
            target: One class per sample; None for the predicted class.
            asked_by: The subject of messages.
        """
        known = [ATTRIBUTIONS[what] for what in measures.values() if isinstance(what, str)]
        keep = tuple(dict.fromkeys(name for one in known for name in one.keep))
        record = self.record(keep or ("vectors",), target) if any(one.needs for one in known) else None
        found, absent = {}, {}
        for name, what in measures.items():
            if isinstance(what, str):
                given, why = self._known(ATTRIBUTIONS[what], record, target)
            else:
                given, why = (what if isinstance(what, xr.DataArray) else what(self.model, self.inputs)), ""
            if why:
                absent[name] = why
                continue
            array = fitted(per_token(given, name, asked_by=asked_by), sizes, name, asked_by=asked_by)
            found[name] = array.values.astype(float)
        return found, absent

    def _known(self, one: Attribution, record: xr.Dataset | None, target: Any) -> tuple[Any, str]:
        """Return a known attribution, or None and why the model has none."""
        if one.intervention:
            return self._intervened(one, target)
        assert record is not None  # something is read off it
        for name in one.needs:
            if name not in record:
                why = record.attrs.get("absent", {}).get(name, "not captured")
                return None, f"the record has no `{name}`: {why}"
        return one.read(record), ""

    def _intervened(self, one: Attribution, target: Any) -> tuple[Any, str]:
        """Return what an intervention gives, or None and why it refuses; told beside the missing score."""
        given = {
            "target": None if target is None else torch.as_tensor(target),
            "output": self.output,
        }
        asked = {name: given[name] for name in one.asks}
        options = {**one.options, **asked, **self.stated, "draws": self.draws, "seed": self.seed}
        function = INTERVENTIONS[one.intervention].function
        try:
            return one.read(function(self.model, self.inputs, **options)), ""
        except (CaptureError, CheckpointError) as refusal:  # class attention, a library that is not there
            return None, str(refusal)
