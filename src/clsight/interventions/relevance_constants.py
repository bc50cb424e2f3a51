"""Which tensors are the model's own, whatever its inputs are? Its weights, and what is made of them alone."""

from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from clsight.hooks.calls import tensors_in


class Constants:
    """The weights and buffers of a module, and tensors that were computed from these alone.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        owned = (*module.parameters(), *module.buffers())
        self._owned = tuple(owned)  # so that no memory is given to another tensor
        self._memory = {_memory_of(tensor) for tensor in owned} - {0}
        self._made: dict[int, tuple[ref[Tensor], int]] = {}

    def holds(self, tensor: Tensor) -> bool:
        """Tell whether a tensor is one of these."""
        made, version = self._made.get(id(tensor), (None, 0))
        if made is not None and made() is tensor:
            return tensor._version == version  # else something was written into it
        return _memory_of(tensor) in self._memory

    def note(self, arguments: tuple[Any, ...], result: Any) -> None:
        """Remember a result that was made of these alone."""
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return
        given = list(tensors_in(arguments))
        if given and all(self.holds(one) for one in given) and not self.holds(result):
            key = id(result)
            self._made[key] = (ref(result, lambda _: self._made.pop(key, None)), result._version)


def _memory_of(tensor: Tensor) -> int:
    """Return what identifies the memory that a tensor looks at, 0 if it has none of its own."""
    is_plain = tensor.layout is torch.strided and not tensor.is_nested
    return tensor.untyped_storage()._cdata if is_plain else 0
