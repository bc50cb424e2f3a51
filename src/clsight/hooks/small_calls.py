"""Small attention calls, looked at together: one look at several layers costs little more than at one.

On a tiny model a look at one layer is some sixty operations on a few thousand numbers, and costs more than
the layer. Calls of equal shape are therefore copied, side by side as if they were further samples, and looked
at once when enough have come or the forward pass ends.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from clsight.hooks.assembly import Layer
from clsight.hooks.cls_view import ClsView, view_cls
from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.projection import norm_after

_SMALL = 2**20
"""Bytes of queries, keys, values and output above which a call is looked at alone, at once."""

_TOGETHER = 12
"""Calls that are looked at together at most."""

_ON_DEVICE = 2**27
"""Bytes of the calls that are looked at together on a GPU, where starting an operation is what costs."""

_COPIED = ("query", "key", "value", "output", "log_sum_exp")


class SmallCalls:
    """The small calls of one forward pass that wait to be looked at."""

    def __init__(self) -> None:
        self._groups: dict[Any, _Group] = {}

    def take(self, layer: Layer, call: AttentionCall, position: Position) -> bool:
        """Tell whether the call is small; it is then copied, and its layer gets a view by `look`."""
        if not _is_small(call):
            return False
        kind = _kind(call)
        group = self._groups.get(kind)
        if group is None or not group.has_room_for(call):
            self.look(kind)
            group = self._groups[kind] = _Group.like(call, position)
        group.add(layer, call)
        return True

    def is_waiting(self, layer: Layer) -> bool:
        """Tell whether a layer still has no view."""
        return any(layer is one for group in self._groups.values() for one in group.layers)

    def look(self, kind: Any = None) -> None:
        """Give every waiting layer, or those of one kind, what CLS sees there."""
        for one in [kind] if kind is not None else list(self._groups):
            group = self._groups.pop(one, None)
            if group is not None:
                group.look()


@dataclass
class _Group:
    """Calls that differ in nothing but their numbers, and the layers they belong to."""

    call: AttentionCall
    position: Position
    copies: dict[str, Tensor]
    room: int
    given_mask: Tensor | None
    mask_version: int
    layers: list[Layer] = field(default_factory=list)

    @classmethod
    def like(cls, call: AttentionCall, position: Position) -> "_Group":
        copies = {}
        room = min(_TOGETHER, _ON_DEVICE // max(1, _bytes(call))) if call.is_far else _TOGETHER
        for name in _COPIED:
            tensor = getattr(call, name)
            if tensor is not None:
                copies[name] = tensor.new_empty((room * len(tensor), *tensor.shape[1:]))
        mask = None if call.mask is None else call.mask.detach().clone()
        version = -1 if call.mask is None else call.mask._version
        return cls(replace(call, mask=mask), position, copies, room, call.mask, version)

    def has_room_for(self, call: AttentionCall) -> bool:
        """Tell whether one more call fits: its mask is what that of the others was."""
        mine, other = self.call.mask, call.mask
        if len(self.layers) == self.room:
            return False
        if (
            mine is None
            or other is None
            or (other is self.given_mask and other._version == self.mask_version)
        ):
            return True
        return torch.equal(mine, other)

    def add(self, layer: Layer, call: AttentionCall) -> None:
        with torch.no_grad():
            for name, copy in self.copies.items():
                copy[self._samples(len(self.layers))] = getattr(call, name).detach()
        self.layers.append(layer)

    def look(self) -> None:
        count, samples = len(self.layers), self.call.samples
        together = self._call(slice(0, count * samples), repeats=count)
        view = view_cls(together, self.position.repeated(count))
        if view.kernel != self.call.kernel:  # some heads took another way: let each layer tell its own
            for place, layer in enumerate(self.layers):
                layer.view = view_cls(self._call(self._samples(place)), self.position)
        else:
            for place, layer in enumerate(self.layers):
                layer.view = _part(view, self._samples(place))
        self._norms()

    def _norms(self) -> None:
        """Give ‖v W_O‖ to the layers whose output projection was found."""
        found = [place for place, layer in enumerate(self.layers) if layer.gram is not None]
        grams = [gram for gram in (layer.gram for layer in self.layers) if gram is not None]
        if not found:
            return
        value = self.copies["value"].detach()
        norms = norm_after(torch.stack([value[self._samples(place)] for place in found]), torch.stack(grams))
        for place, norm in zip(found, norms, strict=True):
            self.layers[place].value_norm, self.layers[place].gram = norm, None

    def _call(self, part: slice, repeats: int = 1) -> AttentionCall:
        """Return the call of some samples of the copies."""
        mask = self.call.mask
        if mask is not None and repeats > 1 and mask.dim() == 4 and len(mask) > 1:
            mask = mask.repeat(repeats, 1, 1, 1)
        tensors: dict[str, Any] = {name: copy[part] for name, copy in self.copies.items()}
        return replace(self.call, mask=mask, raw_output=None, **tensors)

    def _samples(self, place: int) -> slice:
        samples = self.call.samples
        return slice(place * samples, (place + 1) * samples)


def _is_small(call: AttentionCall) -> bool:
    """Tell whether a call is small, and computed by an operation that held no scores."""
    if call.scores is not None or call.is_class_attention or call.query.is_inference():
        return False
    if call.mask is not None and call.mask.dim() == 3:  # samples and heads in one dimension
        return False
    return _bytes(call) <= (_ON_DEVICE // 2 if call.is_far else _SMALL)


def _bytes(call: AttentionCall) -> int:
    tensors = (call.query, call.key, call.value, call.output, call.mask)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _kind(call: AttentionCall) -> tuple[Any, ...]:
    """Return all that calls which are looked at together must share."""
    settings = (call.scale, call.is_causal, call.extra_keys, call.has_dropout, call.kernel, call.is_folded)
    shapes = (call.query.shape, call.key.shape, call.value.shape, call.log_sum_exp is None)
    types = (call.query.dtype, call.key.dtype, call.value.dtype, call.output.dtype, call.query.device)
    mask = None if call.mask is None else (call.mask.shape, call.mask.dtype, call.mask.device)
    return (*settings, *shapes, *types, call.log_sum_exp_error, mask)


def _part(view: ClsView, samples: slice) -> ClsView:
    """Return the view of some of the samples."""
    tensors: dict[str, Any] = {
        name: value[samples] for name, value in vars(view).items() if isinstance(value, Tensor)
    }
    return replace(view, **tensors)
