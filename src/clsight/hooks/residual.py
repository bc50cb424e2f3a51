"""CLS in the residual stream: what enters the first block and leaves each, found by what blocks hand on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clsight.hooks.calls import tensors_in
from clsight.hooks.positions import Position


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
            if not torch.equal(before.leaving, after.entering):
                return None, f"what leaves `{name}` is not what enters the next layer"
        states = [passages[0].entering, *(passage.leaving for passage in passages)]
        return torch.stack(states, dim=1), ""


def _cls_states(value: Any, tokens: int, cls_index: Tensor) -> Tensor | None:
    """Return the first sequence among tensors at CLS, `[sample, channel]`, or None."""
    samples = len(cls_index)
    order = torch.arange(samples, device=cls_index.device)
    for tensor in tensors_in(value):
        if tensor.dim() == 3 and tensor.shape[:2] == (samples, tokens):
            return tensor.detach()[order, cls_index]
        if tensor.dim() == 3 and tensor.shape[:2] == (tokens, samples):
            return tensor.detach()[cls_index, order]
    return None
