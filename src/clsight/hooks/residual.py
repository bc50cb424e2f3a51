"""CLS in the residual stream: what enters the first block and leaves each, found by what blocks hand on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clsight.hooks.moving import sequence_in
from clsight.hooks.positions import Position
from clsight.hooks.shelf import stacked


@dataclass(frozen=True)
class Passage:
    """CLS on its way through one run of a module that holds attention: `[sample, channel]` in and out."""

    entering: Tensor
    leaving: Tensor


class ResidualStream:
    """Watch modules that hold attention; join them to a stream if each hands on what the next receives."""

    def __init__(self) -> None:
        self._passages: dict[str, list[Passage]] = {}

    def on_leave(self, name: str, inputs: Any, output: Any, *, tokens: int, position: Position) -> None:
        """Note what entered and left a module at CLS, where both are sequences of the same width."""
        entering = _cls_states(inputs, tokens, position.index)
        leaving = _cls_states(output, tokens, position.index)
        if entering is not None and leaving is not None and entering.shape == leaving.shape:
            self._passages.setdefault(name, []).append(Passage(entering, leaving))

    def joined(self, names: list[str]) -> tuple[Tensor | None, str]:
        """Return CLS before the first block and after each, `[sample, depth, channel]`, or None and why.

        Args:
            names: Names of the layers, in order; `name#k` is the k-th run of one module.
        """
        passages = []
        for name in names:
            module, _, run = name.partition("#")
            seen = self._passages.get(module, [])
            if len(seen) <= int(run or 0):
                return None, f"what enters and leaves `{name}` is not one sequence of the same width"
            passages.append(seen[int(run or 0)])
        for name, before, after in zip(names, passages, passages[1:], strict=False):
            if not torch.equal(before.leaving, after.entering.to(before.leaving.device)):
                return None, f"what leaves `{name}` is not what enters the next layer"
        states = [passages[0].entering, *(passage.leaving for passage in passages)]
        return stacked(states), ""


def _cls_states(value: Any, tokens: int, cls_index: Tensor) -> Tensor | None:
    """Return the first sequence among tensors at CLS, `[sample, channel]`, or None."""
    sequence = sequence_in(value, tokens, len(cls_index))
    if sequence is None:
        return None
    index = cls_index.to(sequence.device)
    return sequence[torch.arange(len(index), device=index.device), index]
