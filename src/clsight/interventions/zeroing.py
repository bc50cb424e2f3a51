"""The passes of value zeroing: one of the whole model per draw, and then of each layer alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from clsight.errors import CaptureError
from clsight.hooks.operations import AttentionCall
from clsight.interventions.blocks import BlockInputs
from clsight.interventions.passes import Passes
from clsight.interventions.plan import Plan, Site
from clsight.interventions.variants import LayerAgain, Mixture


class Zeroing:
    """Take the value of each token away, layer by layer.

    Args:
        passes: The model, entered.
        seed: Start of the random streams of the first draw.

    Attributes:
        plan: What the survey found.
        one_by_one: Names of the layers that had to be run once per token.

    Raises:
        CaptureError: If the model cannot be captured, CLS alone asks, or it runs in half precision.
    """

    def __init__(self, passes: Passes, seed: int) -> None:
        self._passes = passes
        self._mixtures: dict[int, Mixture] = {}
        self._inputs = BlockInputs(passes)
        self._kept = seed
        self.one_by_one: list[str] = []
        with self._inputs:
            self.plan, _ = passes.survey(seed, self._keep)
        self._inputs.keep_only(self.plan.sites)
        _check(self.plan)

    def distances(self, seed: int, sites: Sequence[Site], bar: "tqdm[None]") -> NDArray[np.float64]:
        """Return how far CLS moves without the value of each token in one draw: `[sample, layer, token]`.

        Args:
            seed: Start of the random streams.
            sites: The layers.
            bar: Told of each layer.
        """
        if seed != self._kept:
            self._run_again(seed, BlockInputs(self._passes))
        changed = self._inputs.changed(sites)
        if changed:
            self._run_again(seed, BlockInputs(self._passes, copied=changed))
        states = dict(self._passes.states)
        found = []
        for site in sites:
            left = states.get((site.module, site.run))
            layer = LayerAgain(self._passes, self.plan, site, self._inputs.of(site), left, seed)
            distances = layer.distances(self._mixtures[site.place])
            if distances is None:
                distances = layer.distances_one_by_one()
                self.one_by_one = list(dict.fromkeys([*self.one_by_one, site.name]))
            found.append(distances.cpu().numpy())
            bar.update()
        return np.stack(found, axis=1)

    def _run_again(self, seed: int, inputs: BlockInputs) -> None:
        """Run the whole model in another draw, or with copies of what enters layers that change it."""
        self._inputs, self._kept = inputs, seed
        with inputs:
            self._passes.run(seed, self._keep)
        inputs.keep_only(self.plan.sites)

    def _keep(self, place: int, call: AttentionCall) -> Tensor | None:
        if not call.is_class_attention:
            self._mixtures[place] = Mixture.of(call, self._passes.position)
        return None


def _check(plan: Plan) -> None:
    model, dtype = plan.record.attrs["model"], plan.record.attrs["dtype"]
    if plan.is_class_attention:
        raise CaptureError(
            model,
            expected="layers in which every token asks",
            got="class attention, in which CLS alone asks: its layer gives CLS no position beside others",
            next_step="Use knockout with path='row', or the contributions of capture(keep='contributions')",
        )
    if dtype in ("float16", "bfloat16"):
        raise CaptureError(
            model,
            expected="attention in float32 or float64",
            got=f"{dtype}, whose rounding is larger than most of the changes that are measured",
            next_step="Convert the module with .float(), or leave autocast off",
        )
