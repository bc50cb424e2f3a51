"""Where the results of a forward pass lie until it ends: apart from what they were read off.

On the CPU together, in few large pieces of memory: small tensors that stay, allocated between large ones that
come and go, keep the C library from giving the space around them back or using it again. On BERT-base at
8 × 128 tokens they tripled the peak. On other devices torch sees to that; but a view of CLS in queries, keys
and values holds all of them, of every layer.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_PIECE_BYTES = 4 * 2**20
_ALIGNED = 64


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors of all layers with their dimension behind `sample`, on the device of the first."""
    return torch.stack([tensor.to(tensors[0].device) for tensor in tensors], dim=1)


class Shelf:
    """Memory that tensors are copied to, on the CPU one behind the other."""

    def __init__(self) -> None:
        self._piece = torch.empty(_PIECE_BYTES, dtype=torch.uint8)
        self._used = 0

    def keep(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor that holds no other memory; on other devices a tensor that is alone."""
        if tensor.device.type != "cpu":
            is_alone = tensor.untyped_storage().nbytes() == tensor.nbytes
            return tensor if is_alone else tensor.clone(memory_format=torch.contiguous_format)
        size = math.ceil(tensor.nbytes / _ALIGNED) * _ALIGNED
        if self._used + size > self._piece.nbytes:
            self._piece = torch.empty(max(_PIECE_BYTES, size), dtype=torch.uint8)
            self._used = 0
        place = self._piece[self._used : self._used + tensor.nbytes]
        self._used += size
        return place.view(tensor.dtype).view(tensor.shape).copy_(tensor)
