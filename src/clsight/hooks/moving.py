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


class Move(NamedTuple):
    """CLS entered a module at another position than the one at which it left the module before."""

    module: str
    before: str
    found: list[int]


class _Left(NamedTuple):
    name: str
    state: Tensor  # [sample, channel], at CLS


class Stays:
    """Watch the modules that hold attention, and note where the state of CLS turns up at another position."""

    def __init__(self) -> None:
        self._left: deque[_Left] = deque(maxlen=_RECENT)
        self.move: Move | None = None

    def on_leave(self, name: str, inputs: Any, output: Any, *, tokens: int, position: Position) -> None:
        """Look at a module that just ran."""
        if self.move is not None:
            return
        inside = f"{name}." if name else ""
        before = next((left for left in reversed(self._left) if not left.name.startswith(inside)), None)
        entering = sequence_in(inputs, tokens, len(position.index))
        if entering is not None and before is not None:
            found = _moved(before.state, entering, position)
            self.move = None if found is None else Move(name, before.name, found)
        leaving = sequence_in(output, tokens, len(position.index))
        if leaving is not None:
            self._left.append(_Left(name, position.in_sequence(leaving).clone()))


def _moved(state: Tensor, entering: Tensor, position: Position) -> list[int] | None:
    """Return where in each sample the state stands, if it stands somewhere else than at the position of CLS.

    Args:
        state: `[sample, channel]`.
        entering: `[sample, token, channel]`.
        position: Where CLS stands.
    """
    if state.shape[-1] != entering.shape[-1] or state.dtype != entering.dtype:
        return None
    if torch.equal(position.in_sequence(entering), state):
        return None
    candidates = entering[..., 0] == state[:, :1]  # one channel rules most out, without a pass over all
    if not bool(candidates.any(1).all()):
        return None
    equal = (entering == state[:, None]).all(-1)
    if not bool((equal.sum(1) == 1).all()):
        return None
    found: list[int] = equal.long().argmax(1).tolist()
    return found


def sequence_in(value: Any, tokens: int, samples: int) -> Tensor | None:
    """Return the first sequence among tensors as `[sample, token, channel]`, or None."""
    for tensor in tensors_in(value):
        if tensor.dim() == 3 and tensor.shape[:2] == (samples, tokens):
            return tensor.detach()
        if tensor.dim() == 3 and tensor.shape[:2] == (tokens, samples):
            return tensor.detach().transpose(0, 1)
    return None
