"""Which projection, residual sum and norms belong to an attention call? Found by what they are fed.

The output projection reads the merged heads; the residual sum adds its result to what attention had read;
a norm that reads that sum stands in the stream if the stream goes on with its result (post-norm), and inside
the feed-forward part if it goes on with the sum (pre-norm). Values are compared bit for bit. Names of modules
play no part.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from clsight.hooks.calls import tensors_in
from clsight.hooks.mixing import for_later
from clsight.hooks.operations import AttentionCall
from clsight.interventions.events import Event, LinearMap, Normalization, Scaled, Sum
from clsight.interventions.parts import LayerParts, Norm
from clsight.interventions.sequences import Layout, as_sequence, holds, layout_of

_NEXT_MAPS = 6
_READ_BEFORE = 8

NO_PROJECTION = (
    "no linear map was fed the merged heads of all tokens: a norm, a gate or an adapter may stand between"
)
NO_RESIDUAL = (
    "what the output projection gave was not added to what attention had read: an adapter that is not "
    "merged, a norm, or a parallel feed-forward part may stand between"
)
NOT_FOLLOWED = (
    "what follows the sum of attention and what it had read was not seen: a norm that is written out may "
    "stand there"
)
TWO_MAPS = "two linear maps were fed the merged heads: an adapter that is not merged may stand there"
CLASS_ATTENTION = "CLS is the only query: the layer has no residual stream of all its tokens"


@dataclass(frozen=True)
class _Normed:
    """A norm that read the residual sum, and what it gave."""

    norm: Norm
    result: Tensor


class Readings:
    """What the last linear maps and norms before an attention call read."""

    def __init__(self) -> None:
        self._mapped: deque[Tensor] = deque(maxlen=_READ_BEFORE)
        self._normed: deque[tuple[Tensor, Tensor]] = deque(maxlen=_READ_BEFORE)
        self._last: Tensor | None = None

    def on_event(self, event: Event) -> None:
        """Remember what a linear map or a norm read."""
        if isinstance(event, LinearMap) and event.features is not self._last:
            self._last = event.features
            self._mapped.append(event.features.detach().clone())
        elif isinstance(event, Normalization):
            self._normed.append((event.features.detach().clone(), event.result.detach().clone()))

    def frozen(self) -> "Readings":
        """Return what was read so far, which later events leave as it is."""
        copy = Readings()
        copy._mapped, copy._normed = self._mapped.copy(), self._normed.copy()
        return copy

    def was_read(self, states: Tensor) -> bool:
        """Tell whether a linear map read states, `[sample, token, channel]`, itself or through a norm."""
        return self.was_mapped(states) or any(
            self.was_mapped(result) for result in self._results_of_norms_on(states)
        )

    def was_mapped(self, states: Tensor) -> bool:
        """Tell whether a linear map read these states with no norm between."""
        return any(layout_of(mapped, states) for mapped in self._mapped)

    def _results_of_norms_on(self, states: Tensor) -> Iterator[Tensor]:
        """Yield what norms made of these states, `[sample, token, channel]`."""
        samples, tokens = states.shape[:2]
        for before, after in self._normed:
            layout = layout_of(before, states)
            result = layout and as_sequence(after, layout, samples=samples, tokens=tokens)
            if isinstance(result, Tensor):
                yield result


class LayerFinder:
    """Watch what happens after one attention call until the parts of its layer are found.

    Args:
        call: The attention call.
        readings: What was read before it.
    """

    def __init__(self, call: AttentionCall, readings: Readings) -> None:
        self.parts = LayerParts("", for_later(call, with_values=True))
        self._readings = readings.frozen()
        self._samples, self._tokens = call.samples, call.queries
        self._merged = call.output.detach().transpose(1, 2).flatten(2)
        self._maps_left = 0 if call.is_class_attention else _NEXT_MAPS
        self._branch: Tensor | None = None  # [sample, token, channel], on its way to the sum
        self._sum: Tensor | None = None
        self._normed: _Normed | None = None
        self._second_sum: Tensor | None = None
        self._sum_was_read = False
        self._is_current = True
        self.parts.absent["projection"] = CLASS_ATTENTION if call.is_class_attention else NO_PROJECTION

    def on_next_attention(self) -> None:
        """Note that another attention call happened: what is added from now on is not this layer's."""
        self._is_current = False
        self._maps_left = 0
        if self._sum is None:
            self._branch = None

    def on_event(self, event: Event) -> None:
        """Look at what just happened."""
        if isinstance(event, LinearMap) and self._maps_left > 0:
            self._look_for_projection(event)
        if isinstance(event, LinearMap) and self._sum is not None:
            self._sum_was_read = self._sum_was_read or holds(event.features, self._sum)
        if isinstance(event, Scaled) and self._branch is not None and self._sum is None:
            self._look_for_scale(event)
        elif isinstance(event, Sum) and self._branch is not None:
            if self._sum is None:
                self._look_for_residual(event)
            elif self.parts.attended is None:
                self._look_for_stream(event)
        elif isinstance(event, Normalization) and self._sum is not None:
            self._look_for_norm(event)

    def finish(self, below: LayerParts | None, following: Tensor | None, output: Any) -> LayerParts:
        """Return the parts, with reasons for those that were not found.

        Args:
            below: The parts of the layer before, which is wired alike; None for the first.
            following: `[sample, token, channel]`, the residual of the next layer, where it was found.
            output: What the model returned.
        """
        parts, absent = self.parts, self.parts.absent
        if self._sum is not None and parts.attended is None:  # nothing was added to the stream any more
            self._look_behind_sum(below, following, output)
        if parts.attended is not None and parts.leaving is None:
            parts.leaving = parts.attended if self._second_sum is None else self._second_sum
        for part in ("residual", "attended", "leaving"):
            if getattr(parts, part) is None:
                absent[part] = self._why_absent(part)
        return parts

    def _why_absent(self, part: str) -> str:
        if "projection" in self.parts.absent:
            return self.parts.absent["projection"]
        return NO_RESIDUAL if self._sum is None else NOT_FOLLOWED

    def _look_behind_sum(self, below: LayerParts | None, following: Tensor | None, output: Any) -> None:
        """Take the sum, or the norm that read it, for the stream, whichever the model went on with.

        Behind the last layer a norm may be the layer's own or the model's final one: the layer before tells.
        """
        assert self._sum is not None
        is_like_below = below is not None and below.norm is not None
        normed = None if self._normed is None else self._normed.result
        if _same(following, normed):
            self._goes_on_behind_norm()
        elif _same(following, self._sum):
            self.parts.attended = self._sum
        elif normed is not None and (
            is_like_below or self._readings.was_mapped(self.parts.found("residual"))
        ):
            self._goes_on_behind_norm()
        elif normed is not None or self._sum_was_read or self._is_in(output):
            self.parts.attended = self._sum

    def _is_in(self, output: Any) -> bool:
        assert self._sum is not None
        return any(holds(tensor, self._sum) for tensor in tensors_in(output))

    def _look_for_projection(self, event: LinearMap) -> None:
        self._maps_left -= 1
        layout = layout_of(event.features, self._merged) if event.weight.dim() == 2 else None
        if layout is None:
            return
        if self.parts.projection is not None:
            self.parts.projection, self._branch, self._maps_left = None, None, 0
            self.parts.absent["projection"] = TWO_MAPS
            return
        self._branch = self._sequence(event.result, layout)
        self.parts.projection = event.weight.detach()
        self.parts.projection_bias = None if event.bias is None else event.bias.detach()
        del self.parts.absent["projection"]

    def _look_for_scale(self, event: Scaled) -> None:
        """Take a factor per channel on the way to the sum (LayerScale) into the projection."""
        assert self._branch is not None
        layout = layout_of(event.features, self._branch)
        if layout is None:
            return
        factor = event.factor.detach() if isinstance(event.factor, Tensor) else event.factor
        column = factor[:, None] if isinstance(factor, Tensor) else factor
        self._branch = self._sequence(event.result, layout)
        assert self.parts.projection is not None
        self.parts.projection = self.parts.projection * column
        if self.parts.projection_bias is not None:
            self.parts.projection_bias = self.parts.projection_bias * factor

    def _look_for_residual(self, event: Sum) -> None:
        assert self._branch is not None
        for branch, other in ((event.left, event.right), (event.right, event.left)):
            layout = layout_of(branch, self._branch)
            if layout is None or other.shape != branch.shape:
                continue
            residual = self._sequence(other, layout)
            if self._readings.was_read(residual):
                self.parts.residual, self._maps_left = residual, 0
                self._sum = self._sequence(event.result, layout)
            else:
                self._branch = None
            return

    def _look_for_norm(self, event: Normalization) -> None:
        """Take a norm that read the first sum, or, behind a norm, the second."""
        assert self._sum is not None
        if self._normed is None and (layout := layout_of(event.features, self._sum)):
            self._normed = _Normed(norm_of(event, self._sum), self._sequence(event.result, layout))
        elif self._second_sum is not None and self.parts.norm is not None and self.parts.leaving is None:
            layout = layout_of(event.features, self._second_sum)
            if layout is not None:
                self.parts.second_norm = norm_of(event, self._second_sum)
                self.parts.leaving = self._sequence(event.result, layout)

    def _look_for_stream(self, event: Sum) -> None:
        """Take the next sum to which the first sum, or its norm, is a part: the stream goes on with that."""
        assert self._sum is not None
        for stream, other in ((event.left, event.right), (event.right, event.left)):
            if other.shape != stream.shape:
                continue
            layout = None if self._normed is None else layout_of(stream, self._normed.result)
            if layout is not None:
                self._goes_on_behind_norm()
            elif layout := layout_of(stream, self._sum):
                self.parts.attended = self._sum
            if layout is not None:
                if self._is_current:
                    self.parts.fed_forward = self._sequence(other, layout)
                    self._second_sum = self._sequence(event.result, layout)
                return

    def _goes_on_behind_norm(self) -> None:
        assert self._normed is not None
        self.parts.norm = self._normed.norm
        self.parts.attended = self._normed.result

    def _sequence(self, tensor: Tensor, layout: Layout) -> Tensor:
        """Return a copy as `[sample, token, channel]`, which nothing changes later."""
        sequence = as_sequence(tensor.detach(), layout, samples=self._samples, tokens=self._tokens)
        assert sequence is not None
        return sequence.clone()


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    """Tell whether both are there and hold the same values."""
    if one is None or other is None or one.shape != other.shape:
        return False
    return bool((one == other).all())


def norm_of(event: Normalization, states: Tensor) -> Norm:
    """Return a norm that ran, with the states that it read."""

    def detached(tensor: Any) -> Tensor | None:
        return tensor.detach() if isinstance(tensor, Tensor) else None

    return Norm(detached(event.weight), detached(event.bias), event.eps, event.centers, states)
