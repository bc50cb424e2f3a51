"""W_Oᵀ W_O of each head of an output projection, kept as long as the projection stays what it is.

For one short sequence the product costs more than all the rest of a look at CLS, and from one forward pass to
the next it is mostly the same.
"""

import threading
from collections.abc import MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from clsight.hooks.operations import split


@dataclass(frozen=True)
class _Kept:
    version: int
    fingerprint: Tensor
    gram: Tensor


_kept: MutableMapping[Tensor, _Kept] = WeakIdKeyDictionary()
_guard = threading.Lock()


def gram_of(weight: Tensor, *, heads: int, groups: int, dtype: torch.dtype) -> Tensor:
    """Return G = W_Oᵀ W_O of each head, `[group, head / group, value_dim, value_dim]`.

    Args:
        weight: `[channel, head · value_dim]`.
        heads: Number of query heads.
        groups: Number of value heads, which divides it.
        dtype: What to compute in.
    """
    with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
        exact = weight.detach().to(dtype)
        is_near = weight.device.type == "cpu"  # a GPU makes the product before it has told what was kept
        if weight.is_inference() or not isinstance(weight, torch.nn.Parameter) or not is_near:
            return _product(exact, heads, groups)
        fingerprint = exact @ _probe(exact)
        with _guard:
            kept = _kept.get(weight)
        if kept is None or not _is_of(kept, weight._version, fingerprint, heads, groups):
            kept = _Kept(weight._version, fingerprint, _product(exact, heads, groups))
            with _guard:
                _kept[weight] = kept
        return kept.gram


def _product(weight: Tensor, heads: int, groups: int) -> Tensor:
    slices = split(weight, 1, heads).permute(1, 2, 0)  # [head, value_dim, channel]
    return split(slices @ slices.transpose(1, 2), 0, groups)


def _probe(weight: Tensor) -> Tensor:
    """Return a vector without symmetries, `[feature]`."""
    return torch.arange(1, weight.shape[1] + 1, dtype=weight.dtype, device=weight.device).sqrt_()


def _is_of(kept: _Kept, version: int, fingerprint: Tensor, heads: int, groups: int) -> bool:
    """Tell whether a product belongs to a weight as it is now.

    A weight's version tells of changes in place, but not of those through `.data`: these show in its product
    with a fixed vector.
    """
    if kept.version != version or kept.gram.shape[:2] != (groups, heads // groups):
        return False
    same_kind = (kept.fingerprint.dtype, kept.fingerprint.device) == (fingerprint.dtype, fingerprint.device)
    return same_kind and torch.equal(kept.fingerprint, fingerprint)
