"""Which tensors of a state dict are the layers of one encoder? Told from names and shapes alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from clsight.errors import CheckpointError
from clsight.loading.state_dict_groups import (
    NUMBER,
    PACKED,
    Shapes,
    attention_modules,
    blocks_around,
    common_start,
    grouped,
    joined,
    numbers_in,
    refuse,
    tensors_below,
    varying_number,
    without_decoders,
    without_prototypes,
)

_OF_ATTENTION: Final = frozenset(
    {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias", "bias_k", "bias_v"}
)


@dataclass(frozen=True)
class LayerNames:
    """The modules of one layer, by their names in the file.

    Attributes:
        block: The layer itself; the attention itself where it is all there is.
        attention: The `nn.MultiheadAttention`.
        norms: First the one of the attention, then the one of the feed-forward part; or none.
        feedforward: The two linear maps of the feed-forward part; or none.
    """

    block: str
    attention: str
    norms: tuple[str, ...] = ()
    feedforward: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tower:
    """The layers of one encoder, in order.

    Attributes:
        name: What their names have in common, such as `encoder.layers`.
        layers: Each layer.
        width: Channels of a token.
        feedforward: Channels inside the feed-forward part; None without one.
        tensors: The names of all its tensors.
        extra_keys: Keys behind those of the tokens: 1 where attention adds a trained one, else 0.
        set_aside: Modules with attention that are no part of it, with the reason.
    """

    name: str
    layers: tuple[LayerNames, ...]
    width: int
    feedforward: int | None
    tensors: frozenset[str]
    extra_keys: int = 0
    set_aside: dict[str, str] = field(default_factory=dict)

    def leaves_out(self, name: str) -> bool:
        """Tell whether a tensor belongs to the layers, or to a module that was set aside."""
        return name in self.tensors or any(name.startswith(f"{module}.") for module in self.set_aside)


def find_tower(shapes: Shapes, *, file: str) -> Tower:
    """Return the one encoder of a state dict.

    Raises:
        CheckpointError: If there is no attention layer, there are several encoders, or a layer holds tensors
            that no `nn.TransformerEncoderLayer` and no plain block of attention, norms and two maps has.
    """
    attentions = attention_modules(shapes, file)
    groups, set_aside = without_decoders(grouped(attentions))
    if not groups:
        refuse(file, "layers of self-attention", "only layers that also attend to another sequence")
    groups, prototypes = without_prototypes(groups, shapes)
    set_aside |= prototypes
    if len(groups) > 1:
        names = ", ".join(f"`{common_start(paths)}`" for paths in groups)
        refuse(file, "the layers of one encoder", f"{len(groups)} encoders: {names}")
    return replace(_tower(groups[0], shapes, file), set_aside=set_aside)


def is_norm(tensors: Shapes, width: int) -> bool:
    """Tell whether the tensors of a module are those of a norm over so many channels."""
    shapes = dict(tensors)
    return shapes in ({"weight": (width,)}, {"weight": (width,), "bias": (width,)})


def is_linear(tensors: Shapes) -> bool:
    """Tell whether the tensors of a module are those of a linear map, or of an embedding."""
    weight = tensors.get("weight", ())
    return (
        len(weight) == 2
        and tensors.keys() <= {"weight", "bias"}
        and tensors.get("bias", weight[:1]) == weight[:1]
    )


def modules_of(shapes: Shapes) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return tensors by module: `{"a.b": {"weight": ...}}`; in the order of the file."""
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        module, _, own = name.rpartition(".")
        modules.setdefault(module, {})[own] = shape
    return modules


def _tower(paths: list[str], shapes: Shapes, file: str) -> Tower:
    """Return the tower of attention modules that belong together."""
    blocks = _blocks(paths, shapes, file)
    if len(paths) > 1:
        place = varying_number(paths)
        indices = [numbers_in(path)[place] for path in paths if place is not None]
        if indices != list(range(indices[0], indices[0] + len(indices))) or indices[0] > 1:
            refuse(
                file,
                "layers numbered without a gap",
                f"layers {', '.join(map(str, indices))}",
                "Save it anew",
            )
    template = tensors_below(shapes, blocks[0])
    for block in blocks[1:]:
        differs = sorted(template.items() ^ tensors_below(shapes, block).items())
        if differs:
            got = f"`{differs[0][0]}` that differs between `{blocks[0]}` and `{block}`"
            refuse(file, "layers that are alike", got)
    width = shapes[joined(paths[0], PACKED)][1]
    names = [_layer(block, path, shapes, width, file) for block, path in zip(blocks, paths, strict=True)]
    inner = names[0].feedforward
    tensors = frozenset(joined(block, own) for block in blocks for own in template)
    return Tower(
        name=common_start(blocks),
        layers=tuple(names),
        width=width,
        feedforward=shapes[f"{inner[0]}.weight"][0] if inner else None,
        tensors=tensors,
        extra_keys=int(joined(paths[0], "bias_k") in shapes),
    )


def _blocks(paths: list[str], shapes: Shapes, file: str) -> list[str]:
    """Return the layers; the attention alone, where what stands beside it is no layer around it."""
    blocks = blocks_around(paths)
    if len(paths) == 1 and not NUMBER.search(blocks[0]):
        width = shapes[joined(paths[0], PACKED)][1]
        try:
            _layer(blocks[0], paths[0], shapes, width, file)
        except CheckpointError:
            if joined(blocks[0], "linear1.weight") in shapes:
                raise
            return paths
    return blocks


def _layer(block: str, attention: str, shapes: Shapes, width: int, file: str) -> LayerNames:
    """Return the modules of one layer by their roles; a tensor without a role is refused."""
    inside = {name: shape for name, shape in tensors_below(shapes, block).items()}
    own = attention.removeprefix(block).removeprefix(".")
    modules = modules_of({name: shape for name, shape in inside.items() if not _is_of(name, own)})
    norms = sorted((name for name, each in modules.items() if is_norm(each, width)), key=_norm_order)
    maps = [name for name, each in modules.items() if is_linear(each)]
    pair = _feedforward(maps, modules, width)
    expected = 2 if pair else 1
    left = [name for name in modules if name not in norms and name not in pair]
    if left or len(norms) not in (0, expected):
        odd = [joined(joined(block, name), own) for name in left or norms for own in modules[name]]
        names = ", ".join(f"`{name}`" for name in odd[:3])
        refuse(file, "layers of attention, two linear maps and two norms", f"layers with {names}")
    return LayerNames(
        block=block,
        attention=attention,
        norms=tuple(joined(block, name) for name in norms),
        feedforward=tuple(joined(block, name) for name in pair),
    )


def _feedforward(maps: list[str], modules: Mapping[str, Shapes], width: int) -> tuple[str, ...]:
    """Return the map from `width` and the one back to it, if they are all there is."""
    if len(maps) != 2:
        return ()
    for first, second in (sorted(maps), sorted(maps, reverse=True)):
        inner, outer = modules[first]["weight"], modules[second]["weight"]
        if inner[1] == width and outer == inner[::-1]:
            return first, second
    return ()


def _norm_order(name: str) -> tuple[int, str]:
    """Sort the norm of the attention before that of the feed-forward part."""
    lower = name.lower()
    if "att" in lower:
        return 0, name
    return (2 if re.search("ff|mlp|feed|fc", lower) else 1), name


def _is_of(name: str, attention: str) -> bool:
    """Tell whether a tensor of a layer belongs to its attention."""
    prefix = f"{attention}." if attention else ""
    return name.startswith(prefix) and name.removeprefix(prefix) in _OF_ATTENTION
