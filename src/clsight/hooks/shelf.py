"""Where the results of a forward pass lie until it ends: together, in few large pieces of memory.

Small tensors that stay, allocated between large ones that come and go, keep the C library from giving the
space around them back or using it again: on BERT-base at 8 × 128 tokens they tripled the peak.
"""

import math

import torch
from torch import Tensor

_PIECE_BYTES = 4 * 2**20
_ALIGNED = 64


class Shelf:
    """Memory on the CPU that tensors are copied to, one behind the other."""

    def __init__(self) -> None:
        self._piece = torch.empty(_PIECE_BYTES, dtype=torch.uint8)
        self._used = 0

    def keep(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor on the shelf; a tensor on another device as it is."""
        if tensor.device.type != "cpu":
            return tensor
        size = math.ceil(tensor.nbytes / _ALIGNED) * _ALIGNED
        if self._used + size > self._piece.nbytes:
            self._piece = torch.empty(max(_PIECE_BYTES, size), dtype=torch.uint8)
            self._used = 0
        place = self._piece[self._used : self._used + tensor.nbytes]
        self._used += size
        return place.view(tensor.dtype).view(tensor.shape).copy_(tensor)
