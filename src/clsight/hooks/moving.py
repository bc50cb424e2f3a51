"""Does CLS stay where it is from layer to layer? Found by what leaves one module and enters the next.

A model may turn its sequence round, or sort it, between two layers. What CLS looks at would then be read at
the wrong place in one of them, and nothing in the attention operation would tell.
"""

from collections import deque
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clsight.hooks.calls import tensors_in
from clsight.hooks.positions import Position

_RECENT = 32
_SOME = 32
"""Channels that tell two tokens apart."""


class Move(NamedTuple):
    """CLS entered a module at another position than the one at which it left the module before."""

    module: str
    before: str
    found: list[int]


class _Left(NamedTuple):
    name: str
    state: Tensor  # [sample, channel], at CLS


class _Entered(NamedTuple):
    module: str
    before: str
    alike: Tensor  # [sample, token], boolean: what entered as CLS left the module before
    position: Position


class Stays:
    """Watch the modules that hold attention, and note where the state of CLS turns up at another position."""

    def __init__(self) -> None:
        self._left: deque[_Left] = deque(maxlen=_RECENT)
        self._entered: list[_Entered] = []

    def first_move(self) -> Move | None:
        """Return the first time that CLS moved, or None. Waits for what was noted on a GPU."""
        by_length: dict[tuple[torch.Size, torch.device], list[int]] = {}
        for number, one in enumerate(self._entered):
            by_length.setdefault((one.alike.shape, one.alike.device), []).append(number)
        found: dict[int, list[int]] = {}
        for numbers in by_length.values():
            alike = torch.stack([self._entered[number].alike for number in numbers])
            places = torch.where(alike.sum(2) == 1, alike.int().argmax(2), -1)
            found.update(zip(numbers, places.tolist(), strict=True))
        for number, one in enumerate(self._entered):
            if -1 not in found[number] and found[number] != one.position.places:
                return Move(one.module, one.before, found[number])
        return None

    def on_leave(
        self, name: str, inputs: Any, output: Any, *, tokens: int, position: Position, may_wait: bool
    ) -> None:
        """Look at a module that just ran; on a GPU without waiting for it, unless that `may_wait`."""
        inside = f"{name}." if name else ""
        before = next((left for left in reversed(self._left) if not left.name.startswith(inside)), None)
        entering = sequence_in(inputs, tokens, len(position.index))
        if entering is not None and before is not None:
            state = before.state.to(entering.device)
            alike = _alike(state, entering, position.on(entering.device), may_wait=may_wait)
            if alike is not None:
                self._entered.append(_Entered(name, before.name, alike, position))
        leaving = sequence_in(output, tokens, len(position.index))
        if leaving is not None:
            self._left.append(_Left(name, position.on(leaving.device).in_sequence(leaving).clone()))


def _alike(state: Tensor, entering: Tensor, position: Position, *, may_wait: bool) -> Tensor | None:
    """Return which tokens are as the state is, `[sample, token]`, boolean; None if CLS surely did not move.

    Args:
        state: `[sample, channel]`.
        entering: `[sample, token, channel]`.
        position: Where CLS stands.
        may_wait: Whether to look at results on the way: mostly one comparison then tells.
    """
    if state.shape[-1] != entering.shape[-1] or state.dtype != entering.dtype:
        return None
    if may_wait and torch.equal(position.in_sequence(entering), state):
        return None
    # One channel rules most out, without a pass over all.
    if may_wait and not bool((entering[..., 0] == state[:, :1]).any(1).all()):
        return None
    return (entering[..., :_SOME] == state[:, None, :_SOME]).all(-1)


def sequence_in(value: Any, tokens: int, samples: int) -> Tensor | None:
    """Return the first sequence among tensors as `[sample, token, channel]`, or None."""
    for tensor in tensors_in(value):
        if tensor.dim() == 3 and tensor.shape[:2] == (samples, tokens):
            return tensor.detach()
        if tensor.dim() == 3 and tensor.shape[:2] == (tokens, samples):
            return tensor.detach().transpose(0, 1)
    return None
