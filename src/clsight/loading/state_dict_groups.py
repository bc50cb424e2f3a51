"""Which attention modules of a state dict belong together? Told from the numbers in their names."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from clsight.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]

YOUR_CLASS: Final = "--model package.module:factory, in Python factory="
PASS_THE_CLASS: Final = f"Pass your own class: {YOUR_CLASS}"
PACKED: Final = "in_proj_weight"
_SEPARATE: Final = "q_proj_weight"
NUMBER: Final = re.compile(r"\d+")


def attention_modules(shapes: Shapes, file: str) -> list[str]:
    """Return the names of the attention modules."""
    separate = [name for name in shapes if name.rpartition(".")[2] == _SEPARATE]
    if separate:
        refuse(
            file,
            "self-attention, whose keys have the width of the tokens",
            f"`{separate[0]}` with keys or values of another width",
        )
    found = [name.rpartition(".")[0] for name in shapes if name.rpartition(".")[2] == PACKED]
    if not found:
        some = ", ".join(f"`{name}`" for name in list(shapes)[:3])
        refuse(
            file,
            "tensors of nn.TransformerEncoder or nn.MultiheadAttention, such as `in_proj_weight`",
            f"{len(shapes)} tensors without them ({some})" if shapes else "no tensors",
        )
    for path in found:
        prefix = f"{path}." if path else ""
        shape, out = shapes[f"{prefix}{PACKED}"], shapes.get(f"{prefix}out_proj.weight", ())
        if len(shape) != 2 or shape[0] != 3 * shape[1] or out != (shape[1], shape[1]):
            got = f"{list(shape)} and {list(out)}"
            refuse(f"tensor {prefix}{PACKED}", "[3 · width, width] and out_proj [width, width]", got)
    return found


def grouped(paths: Sequence[str]) -> list[list[str]]:
    """Return the attention modules of each encoder: names that differ in one number, in its order."""
    patterns: dict[str, list[str]] = {}
    for path in paths:
        patterns.setdefault(NUMBER.sub("#", path), []).append(path)
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for pattern, alike in patterns.items():
        place = varying_number(alike)
        for path in alike:
            numbers = numbers_in(path)
            fixed = tuple(number for index, number in enumerate(numbers) if index != place)
            groups.setdefault((pattern, fixed), []).append(path)
    return [sorted(group, key=numbers_in) for group in groups.values()]


def without_decoders(groups: list[list[str]]) -> tuple[list[list[str]], dict[str, str]]:
    """Leave out layers with two attentions, as decoders have them."""
    names: dict[str, set[str]] = {}
    for path in (path for group in groups for path in group):
        parent, _, own = path.rpartition(".")
        names.setdefault(parent, set()).add(NUMBER.sub("#", own))
    twice = {parent for parent, own in names.items() if parent and len(own) > 1}
    kept = [group for group in groups if group[0].rpartition(".")[0] not in twice]
    return kept, {parent: "a decoder layer" for parent in twice}


def without_prototypes(groups: list[list[str]], shapes: Shapes) -> tuple[list[list[str]], dict[str, str]]:
    """Leave out the layer that a `nn.TransformerEncoder` copied and the module still holds, unused."""
    stacks = [group for group in groups if NUMBER.search(blocks_around(group)[0])]
    kept, aside = [], {}
    for group in groups:
        [block, *more] = blocks_around(group)
        own = tensors_below(shapes, block)
        is_copied = any(
            own == tensors_below(shapes, blocks_around(stack)[0]) for stack in stacks if stack is not group
        )
        if not more and not NUMBER.search(block) and is_copied:
            aside[block] = "the layer that the encoder's layers were copied from"
        else:
            kept.append(group)
    return kept, aside


def blocks_around(paths: list[str]) -> list[str]:
    """Return the layer around each attention module: up to the number in which they differ.

    A single attention stands in the layer with the last number in its name, else in its parent if that has
    a name; an attention that is an attribute of the whole model stands for itself.
    """
    if len(paths) > 1:
        place = varying_number(paths)
        return [_up_to_number(path, place) for path in paths]
    parts = paths[0].split(".")
    numbered = [index for index, part in enumerate(parts) if part.isdecimal()]
    if numbered:
        return [".".join(parts[: numbered[-1] + 1])]
    return [".".join(parts[:-1]) or paths[0]]


def _up_to_number(path: str, place: int | None) -> str:
    """Return a name up to the part that holds its number at `place`."""
    seen = -1
    parts = path.split(".")
    for index, part in enumerate(parts):
        seen += len(NUMBER.findall(part))
        if place is not None and seen >= place:
            return ".".join(parts[: index + 1])
    return path


def tensors_below(shapes: Shapes, block: str) -> dict[str, tuple[int, ...]]:
    """Return the tensors below a module by their names in it."""
    if not block:
        return dict(shapes)
    return {name[len(block) + 1 :]: shape for name, shape in shapes.items() if name.startswith(f"{block}.")}


def joined(module: str, name: str) -> str:
    """Return the full name of what a module holds; "" is the whole model."""
    return ".".join(part for part in (module, name) if part)


def numbers_in(path: str) -> list[int]:
    """Return the numbers in a name, in order."""
    return [int(number) for number in NUMBER.findall(path)]


def varying_number(paths: Sequence[str]) -> int | None:
    """Return the place of the last number in which names differ; None if they do not."""
    columns = list(zip(*(numbers_in(path) for path in paths), strict=True))
    different = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    return different[-1] if different else None


def common_start(names: Sequence[str]) -> str:
    """Return what the names of several modules begin with, without their numbers."""
    first, last = min(names), max(names)
    different = (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    common = first[: next(different, len(first))]
    return re.sub(r"[._]?\d*$", "", common) or first


def refuse(subject: str, expected: str, got: str, next_step: str = PASS_THE_CLASS) -> NoReturn:
    """Raise a CheckpointError whose next step is to pass the class itself, which leaves nothing to guess."""
    raise CheckpointError(subject, expected=expected, got=got, next_step=next_step)
