"""Sequences among the arguments of a call: which there are, and the same without or with other tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clsight.faithfulness.attributed import Flags
from clsight.faithfulness.batch import Batch

_BESIDE: Final = ("token_type_ids", "position_ids")
"""Ids along the sequence that say nothing of what a token is."""


@dataclass(frozen=True)
class Sequence:
    """The arguments of a call that have one entry per sample and token.

    Attributes:
        inputs: What the module is called with: by name, or in order.
        names: Names or places of the arguments along the sequence; the first holds the content.
        length: Their number of tokens.
        added: How many tokens the model puts in front of them.
    """

    inputs: Mapping[Any, Any]
    names: tuple[Any, ...]
    length: int
    added: int

    @property
    def content(self) -> Tensor:
        """What the tokens are: `[sample, token]` ids, or `[sample, token, feature]` numbers."""
        content: Tensor = self.inputs[self.names[0]]
        return content

    @property
    def holds_ids(self) -> bool:
        """Whether the tokens are ids."""
        return self.content.dim() == 2

    def own(self, tokens: Flags) -> Flags:
        """Return flags of the encoder's tokens, `[sample, token]`, for the tokens of the input."""
        return tokens[:, self.added : self.added + self.length]

    def cut(self, rows: NDArray[np.int64], kept: Flags) -> Any:
        """Return the inputs of some samples with the kept tokens alone, as many in each of them."""
        index = torch.as_tensor(rows)
        flags = torch.as_tensor(kept)
        whole = len(self.content)

        def made(name: Any, value: Any) -> Any:
            if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != whole:
                return value
            chosen = value[index.to(value.device)]
            if name not in self.names:
                return chosen
            return chosen[flags.to(value.device)].reshape(len(rows), -1, *value.shape[2:])

        return self._as_inputs({name: made(name, value) for name, value in self.inputs.items()})

    def with_ids(self, removed: Flags, baseline: int) -> Any:
        """Return the inputs with an id in the place of removed tokens."""
        flags = torch.as_tensor(self.own(removed)).to(self.content.device)
        return self._with_content(self.content.masked_fill(flags, baseline))

    def with_numbers(self, removed: Flags, averaged: Flags | None) -> Any:
        """Return the inputs with zero, or with the sample's mean over some tokens, at removed tokens.

        Args:
            removed: `[sample, token]`.
            averaged: `[sample, token]`, the tokens of the mean; None for zero.
        """
        content = self.content
        flags = torch.as_tensor(self.own(removed)).to(content.device)[..., None]
        if averaged is None:
            return self._with_content(content.masked_fill(flags, 0.0))
        weights = torch.as_tensor(self.own(averaged)).to(content.device)[..., None]
        total = content.masked_fill(~weights, 0.0).sum(1, keepdim=True)
        mean = total / weights.sum(1, keepdim=True).clamp(min=1)
        return self._with_content(torch.where(flags, mean.to(content.dtype), content))

    def _with_content(self, content: Tensor) -> Any:
        return self._as_inputs({**self.inputs, self.names[0]: content})

    def _as_inputs(self, inputs: dict[Any, Any]) -> Any:
        return tuple(inputs.values()) if all(isinstance(name, int) for name in inputs) else inputs


def sequence_in(batch: Batch) -> Sequence | None:
    """Return the sequence of a call: the first tensor `[sample, token]` of ids or `[sample, token, feature]`.

    Samples come first. The tokens are those of the encoder, without some that the model adds in front.
    """
    if batch.row is not None:
        return None
    inputs = batch.arguments
    if inputs is None:
        args = batch.call.inputs if isinstance(batch.call.inputs, tuple | list) else (batch.call.inputs,)
        inputs = dict(enumerate(args))  # type: ignore[arg-type]
    samples = batch.sizes[0]
    found = next((name for name, value in inputs.items() if _is_content(name, value, samples)), None)
    if found is None:
        return None
    length = inputs[found].shape[1]
    added = batch.added(length)
    if added is None:
        return None
    along = [name for name, value in inputs.items() if _is_along(value, batch.sizes[0], length)]
    return Sequence(inputs, (found, *(name for name in along if name != found)), length, added)


def _is_content(name: Any, value: Any, samples: int) -> bool:
    if not isinstance(value, Tensor) or value.dim() < 2 or value.shape[0] != samples:
        return False
    if isinstance(name, str) and ("mask" in name or name in _BESIDE):
        return False
    return value.dim() == 3 if value.is_floating_point() else value.dim() == 2 and value.dtype != torch.bool


def _is_along(value: Any, samples: int, length: int) -> bool:
    return isinstance(value, Tensor) and value.dim() >= 2 and tuple(value.shape[:2]) == (samples, length)
