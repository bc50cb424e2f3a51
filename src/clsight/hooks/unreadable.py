"""Which attention is written out in a way that gives no CLS row, and why?

Talking heads (Shazeer et al. 2020, arXiv:2003.02436) send scores or weights through a linear map over heads:
no head has a row of its own. Other models take the softmax of scores that are no product of queries and keys.
Such weights are followed through maps, softmax and views by the memory they lie in, until they meet values:
the layer is then left out by name.
"""

from typing import Any, NamedTuple

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from clsight.hooks.tags import Tags, Weights

MIXED_HEADS = "a linear map mixes its heads before or after the softmax, so no head has a row of its own"
NO_PRODUCT = "the scores under its softmax are no product of queries and keys"


class _Entry(NamedTuple):
    storage: StorageWeakRef  # keeps the identity of the memory from being reused, not the memory
    reason: str
    are_weights: bool


class Unreadable:
    """Scores and weights that give no CLS row, and views of them, forgotten with their memory."""

    def __init__(self) -> None:
        self.entries: dict[int, _Entry] = {}

    def on_map(self, tags: Tags, inputs: tuple[Any, ...], result: Any) -> None:
        """Look at a linear map: of scores or weights of attention it mixes the heads."""
        for tensor in inputs:
            entry = self._find(tensor)
            tag = tags.of_memory(tensor) if entry is None and isinstance(tensor, Tensor) else None
            if isinstance(result, Tensor) and (entry or tag):
                self._add(result, MIXED_HEADS, entry.are_weights if entry else isinstance(tag, Weights))
                return

    def on_softmax(self, scores: Any, weights: Tensor) -> None:
        """Look at a softmax over the last dimension that is not of a product of queries and keys."""
        entry = self._find(scores)
        if entry is not None or weights.dim() > 2:
            self._add(weights, entry.reason if entry else NO_PRODUCT, are_weights=True)

    def carry(self, arguments: tuple[Any, ...], result: Any) -> None:
        """Look at any other operation: what is as large as one of these goes on from it."""
        for argument in arguments:
            entry = self._find(argument)
            if entry is not None and isinstance(result, Tensor) and result.numel() == argument.numel():
                self._add(result, entry.reason, entry.are_weights)
                return

    def why(self, weights: Any, values: Tensor) -> str | None:
        """Return why the product of these weights and values gives no CLS row, or None if unknown."""
        entry = self._find(weights)
        is_over_tokens = entry is not None and entry.are_weights and values.dim() > 2
        return entry.reason if entry is not None and is_over_tokens else None

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()

    def _find(self, tensor: Any) -> _Entry | None:
        if not self.entries or not isinstance(tensor, Tensor):
            return None
        entry = self.entries.get(tensor.untyped_storage()._cdata)
        return None if entry is None or _is_gone(entry) else entry

    def _add(self, tensor: Tensor, reason: str, are_weights: bool) -> None:
        self.entries = {key: entry for key, entry in self.entries.items() if not _is_gone(entry)}
        storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        self.entries[storage.cdata] = _Entry(storage, reason, are_weights)


def _is_gone(entry: _Entry) -> bool:
    return bool(entry.storage.expired())  # type: ignore[no-untyped-call]
