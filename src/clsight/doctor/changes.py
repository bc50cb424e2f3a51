"""How far do two passes differ, and is that more than passes differ by themselves?"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from clsight.doctor.passes import Pass

if TYPE_CHECKING:
    from clsight.doctor.examination import Look

NOTHING: Final = 1e-7
"""Relative change of an output below which nothing changed."""
_STANDS_OUT: Final = 3.0


@dataclass(frozen=True)
class Noise:
    """How far passes with the same inputs and seeds differ: 0 unless a model draws from an own random stream.

    Attributes:
        output: As `change_between`, the largest over some repeats.
        entering: The same of what enters the first layer.
    """

    output: float
    entering: float

    @classmethod
    def of(cls, first: "Look", repeats: Iterable["Look"]) -> "Noise":
        """Return the noise between a pass and its repeats."""
        pairs = [(first, repeat) for repeat in repeats]
        return cls(
            max(change_between(one.result, other.result) for one, other in pairs),
            max(_change_entering(one, other) or 0.0 for one, other in pairs),
        )

    @property
    def is_silent(self) -> bool:
        """Whether passes repeat each other, so that every change has a cause."""
        return self.output <= NOTHING and self.entering == 0

    @property
    def told(self) -> str:
        """The reason why a change cannot be told, without a full stop."""
        output, entering = f"{self.output:.2g} times the output's typical size", f"{self.entering:.2g} times"
        differ = output if self.output > NOTHING else f"{entering} the size of what enters the first layer"
        return f"two passes with the same seeds differ by {differ}, and a change cannot be told from that"


@dataclass(frozen=True)
class Effect:
    """What a change of something on trial does.

    Attributes:
        change: How far the outputs then differ, as `change_between`.
        follows: Whether the output follows; None if the noise hides it.
        enters: Whether what enters the first layer follows; None if that was not found, or noise hides it.
    """

    change: float
    follows: bool | None
    enters: bool | None

    @classmethod
    def between(cls, first: "Look", changed: "Look", noise: Noise) -> "Effect":
        """Return the effect of what differs between two passes."""
        change, entering = change_between(first.result, changed.result), _change_entering(first, changed)
        enters = None if entering is None else stands_out(entering, noise.entering, 0.0)
        return cls(change, stands_out(change, noise.output, NOTHING), enters)


def change_between(one: Pass, other: Pass) -> float:
    """Return how far two outputs differ: the largest difference over the root mean square; 0 if equal."""
    return largest_change(zip(one.outputs, other.outputs, strict=False))


def largest_change(pairs: Iterable[tuple[Tensor | None, Tensor | None]]) -> float:
    """Return how far the tensors of pairs differ at most, each over the root mean square of the first."""
    return max(
        (_change_of(one, other) for one, other in pairs if one is not None and other is not None), default=0.0
    )


def stands_out(change: float, noise: float, nothing: float) -> bool | None:
    """Tell whether a change is more than noise; None if there is noise, and the change is no larger."""
    if change > max(nothing, _STANDS_OUT * noise):
        return True
    return None if noise > nothing else False


def _change_entering(one: "Look", other: "Look") -> float | None:
    before, after = one.states.entering, other.states.entering
    return None if before is None or after is None else _change_of(before, after)


def _change_of(before: Tensor, after: Tensor) -> float:
    if before.shape != after.shape:
        return float("inf")
    if torch.equal(before, after) or before.numel() == 0:
        return 0.0
    size = float(before.double().nan_to_num(0.0, 0.0, 0.0).square().mean().sqrt())
    difference = (before - after).double().masked_fill(before.isnan() & after.isnan(), 0.0)
    return float(difference.abs().nan_to_num(float("inf")).max()) / (size or 1.0)
