"""Where do queries, keys and values come from? Which tensor fed the linear maps that made them.

Self-attention projects queries and keys from one sequence; cross attention from two. The shapes do not
tell when both are equally long. `Sources` remembers, for the last few linear maps, which storage they
read and wrote, and so tells the sequence behind a tensor that is still a view of what a map gave. Norms
before and after a map do not count.
"""

from collections import deque
from typing import Any, NamedTuple

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from clsight.errors import CaptureError
from clsight.hooks.operations import Skipped

_LAST_MAPS = 8


class Source(NamedTuple):
    """What fed a linear map: the identity of its storage, and its shape."""

    storage: int
    shape: tuple[int, ...]

    def may_have(self, tokens: int) -> bool:
        """Tell whether the map's input can hold that many tokens: a leading size, or a run of sizes."""
        sizes = self.shape[:-1]
        for start in range(len(sizes)):
            product = 1
            for size in sizes[start:]:
                product *= size
                if product == tokens:
                    return True
        return len(sizes) == 1  # samples and tokens in one dimension, in any order


_Map = tuple[StorageWeakRef, StorageWeakRef, Source]
"""What a linear map wrote, what it read, and the source; the references keep identities from being reused."""


class Sources:
    """The last few linear maps: what they wrote, without keeping it alive, and what they read."""

    def __init__(self) -> None:
        self._maps: deque[_Map] = deque(maxlen=_LAST_MAPS)
        self._norms: deque[tuple[StorageWeakRef, StorageWeakRef]] = deque(maxlen=_LAST_MAPS)

    def on_linear(self, features: Tensor, result: Tensor) -> None:
        """Remember one linear map."""
        read = self._before_norm(_weak_reference(features))
        source = Source(read.cdata, features.shape)
        self._maps.append((_weak_reference(result), read, source))

    def on_norm(self, features: Tensor, result: Tensor) -> None:
        """Remember that a normed tensor goes on from what was normed."""
        self._norms.append((_weak_reference(result), self._before_norm(_weak_reference(features))))
        self._goes_on(features, result)

    def on_cat(self, parts: Any, result: Tensor) -> None:
        """Remember that a joined tensor goes on from its last part, as caches of keys and values do."""
        last = parts[-1] if isinstance(parts, tuple | list) and parts else None
        if isinstance(last, Tensor):
            self._goes_on(last, result)

    def _goes_on(self, before: Tensor, result: Tensor) -> None:
        """Remember that a tensor comes from the same map as another, if that one comes from one."""
        written = self._storages_of(before)
        if written is not None:
            _, read, source = written
            self._maps.append((_weak_reference(result), read, source))

    def _before_norm(self, storage: StorageWeakRef) -> StorageWeakRef:
        """Return the storage of what was normed into this one, or this one."""
        for written, read in reversed(self._norms):
            if written.cdata == storage.cdata:
                return read
        return storage

    def of(self, tensor: Tensor) -> Source | None:
        """Return what fed the linear map whose result this tensor is a view of, or None if none is known."""
        written = self._storages_of(tensor)
        return written[2] if written is not None else None

    def _storages_of(self, tensor: Tensor) -> _Map | None:
        storage = tensor.untyped_storage()._cdata
        return next((entry for entry in reversed(self._maps) if entry[0].cdata == storage), None)


def _weak_reference(tensor: Tensor) -> StorageWeakRef:
    """Return a reference to a storage that keeps its identity, not its memory.

    Raises:
        CaptureError: If the tensor is one that `torch.func` or `torch.vmap` stands behind.
    """
    try:
        storage = tensor.untyped_storage()
    except NotImplementedError as error:
        raise CaptureError(
            "Recorder",
            expected="a forward pass on tensors of its own",
            got="one inside torch.vmap or a transform of torch.func",
            next_step="Capture a plain call of the module, with the samples as a batch",
        ) from error
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def why_no_self_attention(sources: Sources, query: Tensor, key: Tensor, value: Tensor) -> Skipped | None:
    """Return why a call is not attention of one sequence to itself, or None if nothing speaks against it.

    Args:
        sources: The linear maps so far.
        query: `[…, query, head_dim]`, as the operation received it, or before a change of scale.
        key: `[…, key, head_dim]`.
        value: `[…, key, value_dim]`.
    """
    of_query, of_key, of_value = sources.of(query), sources.of(key), sources.of(value)
    if of_query and of_key and of_query.storage != of_key.storage:
        reason = "it is cross attention: queries and keys are projected from different tensors"
        return Skipped(reason, is_cross_attention=True)
    known = of_key or of_value
    tokens = key.shape[-2]
    if known and not known.may_have(tokens):
        return Skipped(
            f"its {tokens} keys are channels or groups, not the tokens of a sequence of shape "
            f"{tuple(known.shape)}"
        )
    return None
