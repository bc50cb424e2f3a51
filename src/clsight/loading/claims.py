"""What a torch file claims about its tensors, checked before a byte of them is touched."""

import math
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from clsight.loading.refusals import RefusedError, quoted

MOST_DIMENSIONS: Final = 32
_LARGEST: Final = 2**48
"""Elements of the largest shape: more than any memory holds, and far from where 64 bits end."""


@dataclass(frozen=True)
class StorageType:
    """A class of storages, such as `torch.FloatStorage`."""

    dtype: torch.dtype


@dataclass(frozen=True)
class StorageClaim:
    """Memory that tensors lie in: its name in the file, the kind of its numbers, how many there are."""

    key: str
    dtype: torch.dtype
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes that the file must have for it."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class TensorClaim:
    """A tensor in a storage; `dtype` may differ from the storage's, which then counts bytes."""

    storage: StorageClaim
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.size) * self.dtype.itemsize

    @property
    def is_whole(self) -> bool:
        """Whether its elements are those of its storage, each once."""
        used = sum((length - 1) * step for length, step in zip(self.size, self.stride, strict=True))
        whole = self.nbytes == self.storage.nbytes
        return (
            whole
            and self.offset == 0
            and (not self.nbytes or (used + 1) * self.dtype.itemsize == self.nbytes)
        )


def storage_claim(identity: Any) -> StorageClaim:
    """Return the storage that a persistent id stands for.

    Raises:
        RefusedError: If it stands for something else.
    """
    match identity:
        case ("storage", StorageType(dtype=dtype), str(key), str(), int(numel), *rest):
            if isinstance(numel, bool) or not 0 <= numel <= _LARGEST or rest not in ([], [None]):
                raise RefusedError("storages of a size", quoted(numel))
            return StorageClaim(key, dtype, numel)
    raise RefusedError("references to storages alone", f"one to {_named(identity)}")


def _named(identity: Any) -> str:
    kind = identity[0] if isinstance(identity, tuple) and identity else identity
    return quoted(kind)


def tensor_claim(
    storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None
) -> TensorClaim:
    """Return a tensor, if its storage has room for all of its elements without using any twice over.

    Raises:
        RefusedError: If an argument is no whole number, an element lies outside the storage, or there are
            more elements than the storage has.
    """
    if not isinstance(storage, StorageClaim) or not _are_sizes(size) or not _are_sizes(stride):
        raise RefusedError("a tensor of a storage, a shape and strides", "something else")
    if not _are_sizes((offset,)) or len(size) != len(stride):
        raise RefusedError(
            "one stride per dimension, and an offset", f"{len(size)} sizes, {len(stride)} strides"
        )
    if math.prod(max(length, 1) for length in size) > _LARGEST:
        raise RefusedError("a shape that fits memory", f"{_shape(size)}")
    kind = dtype or storage.dtype
    room, numel = storage.nbytes // kind.itemsize, math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if (last if numel else offset - 1) >= room or numel > room:
        raise RefusedError(
            "tensors within their storage",
            f"shape {_shape(size)}, strides {_shape(stride)}, offset {offset} in a storage of {room}",
            "If the file is yours, save it again with `tensor.contiguous()`; else do not trust it",
        )
    return TensorClaim(storage, kind, offset, tuple(size), tuple(stride))


def _are_sizes(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= MOST_DIMENSIONS
        and all(type(value) is int and 0 <= value < 2**62 for value in values)
    )


def _shape(sizes: tuple[int, ...]) -> str:
    return str(list(sizes[:4])).replace("]", ", ...]" if len(sizes) > 4 else "]")


def room_for(shape: list[int], dtype: torch.dtype) -> int:
    """Return the bytes of a whole tensor.

    Raises:
        RefusedError: If the shape is none, or larger than any memory.
    """
    if not _are_sizes(tuple(shape)) or math.prod(max(length, 1) for length in shape) > _LARGEST:
        raise RefusedError("a shape of few whole numbers, none negative", quoted(str(shape)))
    return math.prod(shape) * dtype.itemsize


def numbers_at(data: bytearray, start: int, numel: int, dtype: torch.dtype) -> Tensor:
    """Return numbers that lie in `data`, without a copy where they lie evenly: [numel].

    Raises:
        RefusedError: If truth values are neither 0 nor 1: what torch does with those is undefined.
    """
    if numel == 0:
        return torch.empty(0, dtype=dtype)
    raw = torch.frombuffer(data, dtype=torch.uint8, count=numel * dtype.itemsize, offset=start)
    if dtype == torch.bool and int(raw.max()) > 1:
        raise RefusedError("truth values 0 and 1", str(int(raw.max())))
    if raw.data_ptr() % dtype.itemsize:
        return raw.clone().view(dtype)
    return torch.frombuffer(data, dtype=dtype, count=numel, offset=start)
