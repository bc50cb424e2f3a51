"""Where is CLS in each sample, and how is it looked up without a copy where all samples agree?"""

from typing import Self

import torch
from torch import Tensor


class Position:
    """The position of CLS in each sample of a sequence.

    Attributes:
        index: `[sample]`, int64, 0 ≤ index < tokens.
        places: The same as numbers.
        common: The position if it is the same in all samples, else None.
    """

    def __init__(self, index: Tensor) -> None:
        self.index = index
        self.places: list[int] = index.tolist()
        self.common = self.places[0] if len(set(self.places)) == 1 else None
        self._checked: dict[int, Tensor] = {}

    def on(self, device: torch.device) -> "Position":
        """Return the same positions on a device: layers of one model may live on several."""
        return self if self.index.device == device else Position(self.index.to(device))

    def repeated(self, times: int) -> "Position":
        """Return the same positions for as many batches, one behind the other."""
        return Position(self.index.repeat(times))

    @classmethod
    def first_of(cls, index: Tensor) -> Self:
        """Return position 0 in as many samples: where CLS stands among queries if it alone asks."""
        return cls(torch.zeros_like(index))

    def at(self, tensor: Tensor) -> Tensor:
        """Return `tensor[sample, :, index[sample]]`: `[sample, head, token, …]` to `[sample, head, …]`."""
        if self.common is not None:
            return tensor[:, :, self.common]
        return tensor[torch.arange(len(tensor), device=tensor.device), :, self.index]

    def in_sequence(self, tensor: Tensor) -> Tensor:
        """Return `tensor[sample, index[sample]]`: `[sample, token, channel]` to `[sample, channel]`."""
        if self.common is not None:
            return tensor[:, self.common]
        return tensor[torch.arange(len(tensor), device=tensor.device), self.index]

    def with_checked(self, queries: int) -> Tensor:
        """Return CLS and the queries whose rows the self-check computes whole, a third and two thirds along.

        Returns:
            `[chosen]` where all samples agree, else `[sample, chosen]`; CLS comes first.
        """
        if queries not in self._checked:  # made once: to bring it to a GPU is to wait for it
            self._checked[queries] = self._make_checked(sorted({queries // 3, 2 * queries // 3}))
        return self._checked[queries]

    def _make_checked(self, others: list[int]) -> Tensor:
        if self.common is not None:
            return torch.tensor([self.common, *others], device=self.index.device)
        return torch.stack([self.index, *(torch.full_like(self.index, place) for place in others)], dim=1)


def rows_at(tensor: Tensor, index: Tensor) -> Tensor:
    """Return some rows: `[sample, head, token, …]` to `[sample, head, chosen, …]`.

    Args:
        tensor: The rows.
        index: `[chosen]`, the same in all samples, or `[sample, chosen]`.
    """
    if index.dim() == 1:
        return tensor.index_select(2, index)
    samples = torch.arange(tensor.shape[0], device=tensor.device)
    return tensor[samples[:, None], :, index].transpose(1, 2)
