"""Where does CLS go in one layer if a token had no value? All tokens in one run of the layer, or one by one.

The short way needs no knowledge of the layer's wiring. Its submodule is run on a sequence that holds the
state of CLS at every position, and the attention operation inside returns at position j what CLS gets without
the value of token j. What comes out at position j is then CLS without that value, if the submodule works on
each position alone but for attention. A control tells: unchanged, each position must come out as CLS did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.moving import sequence_in
from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.interventions.blocks import with_cls_everywhere
from clsight.interventions.effects import cosine_distance
from clsight.interventions.passes import Arguments, Passes
from clsight.interventions.plan import Plan, Site
from clsight.interventions.single_heads import cls_row, column_of, of_heads, with_output

_TOLERANCE: Final = 256.0
"""How far the control may be off, relative, in units of the states' rounding."""


@dataclass(frozen=True)
class Mixture:
    """What CLS read in one layer.

    Attributes:
        row: `[sample, head, key]`, its weights.
        value: `[sample, head, key, value_dim]`.
        output: `[sample, head, value_dim]`, their product, as the operation gave it.
    """

    row: Tensor
    value: Tensor
    output: Tensor

    @classmethod
    def of(cls, call: AttentionCall, position: Position) -> "Mixture":
        """Return what CLS reads in a call."""
        with torch.autocast(call.query.device.type, enabled=False):
            whole = of_heads(call, range(call.heads))
            return cls(cls_row(whole, position), whole.value, position.at(whole.output))

    def without(self, start: int, stop: int) -> Tensor:
        """Return the output without the value of one key each, from `start`: `[sample, head, key, …]`."""
        part = slice(start, stop)
        return self.output[:, :, None] - self.row[:, :, part, None] * self.value[:, :, part]


class LayerAgain:
    """One layer of a pass that has run, to be run again alone.

    Args:
        passes: The model, entered.
        plan: What the survey found.
        site: The layer.
        arguments: What its submodule was called with.
        left: `[sample, channel]`, CLS as it left the submodule; None if that was not found.
        seed: Start of the random streams of the pass.
    """

    def __init__(  # noqa: PLR0917 - what one run consists of
        self, passes: Passes, plan: Plan, site: Site, arguments: Arguments, left: Tensor | None, seed: int
    ) -> None:
        self._passes, self._plan, self._site, self._seed = passes, plan, site, seed
        self._arguments, self._left = arguments, left

    def distances(self, mixture: Mixture) -> Tensor | None:
        """Return how far CLS moves without the value of each key, all in one run: `[sample, key]`, in [0, 2].

        Returns:
            None if the control fails: the submodule mixes positions outside of attention.
        """
        keys, queries = self._plan.token_mask.shape[1], self._plan.tokens
        arguments = with_cls_everywhere(self._arguments, self._plan, queries)
        if arguments is None or self._left is None:
            return None

        def run(output: Tensor) -> Tensor | None:
            def listener(call: AttentionCall) -> Tensor | None:
                fits = call.output.shape == output.shape
                return with_output(call, range(call.heads), output) if fits else None

            return self._states(self._passes.run_part(self._site, arguments, listener, seed=self._seed))

        untouched = mixture.output[:, :, None].expand(-1, -1, queries, -1)
        control = run(untouched)
        if control is None or not self._is_as_before(control, self._plan.token_mask[:, :queries]):
            return None
        found = []
        for start in range(0, keys, queries):
            variants = untouched.clone()
            count = min(queries, keys - start)
            variants[:, :, :count] = mixture.without(start, start + count)
            states = run(variants)
            assert states is not None
            found.append(cosine_distance(states, control)[:, :count])
        return torch.cat(found, dim=1)

    def distances_one_by_one(self) -> Tensor:
        """Return the same by one run per key, each as a whole, in which no query gets that value.

        Raises:
            CaptureError: If the submodule does not come out as before when it is run again unchanged.
        """
        before = self._cls_after(lambda _: None)
        everywhere = self._plan.token_mask.new_ones(len(self._plan.token_mask), 1)
        if before is None or self._left is None or not self._is_as_before(before[:, None], everywhere):
            raise CaptureError(
                self._site.name,
                expected="a submodule that gives one sequence, and the same when it is run again alone",
                got="another result" if before is not None else "no sequence of states",
                next_step="Leave this layer out with layers=",
            )
        found = []
        for key in range(self._plan.token_mask.shape[1]):
            after = self._cls_after(_without_value(key))
            assert after is not None
            found.append(cosine_distance(after, before))
        return torch.stack(found, dim=1)

    def _cls_after(self, listener: Callable[[AttentionCall], Tensor | None]) -> Tensor | None:
        output = self._passes.run_part(self._site, self._arguments, listener, seed=self._seed)
        states = self._states(output)
        return None if states is None else self._plan.position.in_sequence(states)

    def _states(self, output: object) -> Tensor | None:
        return sequence_in(output, self._plan.tokens, len(self._plan.position.index))

    def _is_as_before(self, states: Tensor, real: Tensor) -> bool:
        """Tell whether CLS comes out as it did in the whole pass.

        Args:
            states: `[sample, token, channel]`.
            real: `[sample, token]`, where that is asked.
        """
        assert self._left is not None
        before = self._left[:, None].double()
        error = torch.linalg.vector_norm(states.double() - before, dim=-1)
        bound = _TOLERANCE * torch.finfo(states.dtype).eps * torch.linalg.vector_norm(before, dim=-1)
        return bool(((error <= bound) | ~real).all())


def _without_value(key: int) -> Callable[[AttentionCall], Tensor]:
    """Return a listener that takes the value of one key away from every query."""

    def listener(call: AttentionCall) -> Tensor:
        heads = range(call.heads)
        with torch.autocast(call.query.device.type, enabled=False):
            whole = of_heads(call, heads)
            place = Position(torch.full((call.samples,), key, device=call.query.device))
            weights = column_of(whole, place)[..., None]
            return with_output(call, heads, whole.output - weights * whole.value[:, :, key, None])

    return listener
