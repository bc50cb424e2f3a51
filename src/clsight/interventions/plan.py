"""Which attention calls of a forward pass are layers of the record, and where does CLS stand in them?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.assembly import ForwardPass, Layer, assemble
from clsight.hooks.layers import layer_names
from clsight.hooks.model_call import ModelCall
from clsight.hooks.positions import Position

Where = dict[str, tuple[int, int]]
"""Per submodule that was running at an attention call: which run of it, and which call of the run, from 0."""


@dataclass(frozen=True)
class Site:
    """An attention call that is a layer of the record.

    Attributes:
        layer: Its index in the record.
        name: Its name there.
        place: Which attention call of the pass it is, from 0.
        module: Name of the submodule that the layer is named after; "" is the whole module.
        run: Which run of that submodule it belongs to, from 0.
        nth: Which attention call of that run it is, from 0.
    """

    layer: int
    name: str
    place: int
    module: str
    run: int
    nth: int


@dataclass(frozen=True)
class Plan:
    """What the survey found.

    Attributes:
        sites: The layers, in order.
        position: Where CLS stands in each sample.
        token_mask: `[sample, key]`, True = a real token, extra keys included.
        record: The record of the survey's pass, with the weights alone.
        heads: Number of heads.
        tokens: Length of the sequence, without extra keys.
        is_class_attention: Whether CLS alone asks in these layers.
        has_drawn: Whether the model drew random numbers.
    """

    sites: tuple[Site, ...]
    position: Position
    token_mask: Tensor
    record: xr.Dataset
    heads: int
    tokens: int
    is_class_attention: bool
    has_drawn: bool

    @property
    def is_cls(self) -> Tensor:
        """`[sample, key]`, True where CLS stands."""
        mask = torch.zeros_like(self.token_mask)
        mask[torch.arange(len(mask), device=mask.device), self.position.index] = True
        return mask


def sites_of(layers: Sequence[Layer], finished: ForwardPass, where: Sequence[Where]) -> tuple[Site, ...]:
    """Return the layers that the capture shows, with their place among all attention calls.

    Args:
        layers: One per attention call of the pass.
        finished: The pass, with the layers that are shown.
        where: Per attention call, the submodules that were running.
    """
    places = {id(layer): place for place, layer in enumerate(layers)}
    own = layer_names([layer.path for layer in finished.layers])
    sites = []
    for index, (layer, name, path) in enumerate(zip(finished.layers, finished.names, own, strict=True)):
        place, module = places[id(layer)], path.partition("#")[0]
        run, nth = where[place][module]
        sites.append(Site(index, name, place, module, run, nth))
    return tuple(sites)


def plan_of(call: ModelCall, finished: ForwardPass, sites: tuple[Site, ...], *, has_drawn: bool) -> Plan:
    """Return what is needed to change the layers of a pass.

    Raises:
        CaptureError: If attention is dropped at random, or layers differ in shape.
    """
    dropped = [name for name, layer in zip(finished.names, finished.layers, strict=True) if layer.has_dropout]
    if dropped:
        raise CaptureError(
            dropped[0],
            expected="attention without dropout in eval mode",
            got="weights that are dropped at random",
            next_step="Switch the dropout off: what it takes away cannot be told from an intervention",
        )
    with torch._C.DisableTorchFunction():
        record = assemble(finished).labeled(call.tokens, call.attributes)
    return Plan(
        sites,
        Position(finished.cls_index),
        finished.token_mask,
        call.described(record),
        heads=int(record.sizes["head"]),
        tokens=finished.layers[0].tokens,
        is_class_attention=finished.layers[0].is_class_attention,
        has_drawn=has_drawn,
    )
