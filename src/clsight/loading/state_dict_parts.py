"""What stands before and after the layers of a state dict: [CLS], input, positions, norms, head.

Each is told from its shape; where a shape allows two readings, its name decides, and `assumed` says so.
"""

import re
from math import isqrt, prod
from typing import Final

from clsight.loading.state_dict_groups import Shapes, refuse
from clsight.loading.state_dict_layers import Tower, is_norm, modules_of
from clsight.loading.state_dict_maps import Modules, Parts, set_maps
from clsight.loading.tensor_names import is_cls_name, is_position_name

_EARLY: Final = re.compile(r"emb|input|patch|stem|pre")
_SPECIAL: Final = re.compile(r"mask|dist|reg|pad|sep|unk|gamma|scale")


def find_parts(shapes: Shapes, tower: Tower, *, file: str) -> Parts:
    """Return what a state dict holds around the layers.

    Args:
        shapes: All tensors.
        tower: The layers among them.
        file: For messages.

    Raises:
        CheckpointError: If there are two readings that would give different maps.
    """
    rest = {name: shape for name, shape in shapes.items() if not tower.leaves_out(name)}
    _check_no_parallel_lists(rest, tower, file)
    parts = Parts()
    parts.position = _position(rest, tower.width, file)
    parts.cls = _cls(rest, tower.width, parts, file)
    taken = {parts.position, parts.cls}
    modules = modules_of({name: shape for name, shape in rest.items() if name not in taken})
    set_maps(parts, modules, tower, file)
    _set_norms(parts, modules, tower)
    return parts


def with_cls_row(rows: int, *, has_cls: bool, patches: bool) -> tuple[bool, str]:
    """Tell whether the first of the positions belongs to [CLS], and why; of patches a square decides."""
    if not has_cls:
        return False, ""
    if patches:
        with_it, without = _is_square(rows - 1), _is_square(rows)
        if with_it != without:
            return with_it, ""
    return True, "the first position belongs to CLS"


def _is_square(number: int) -> bool:
    return number > 0 and isqrt(number) ** 2 == number


def _position(rest: Shapes, width: int, file: str) -> str | None:
    """Return the tensor of the positions: two rows or more, named so."""
    found = [name for name, shape in rest.items() if _is_position(name, shape, width)]
    if len(found) > 1:
        refuse(file, "one tensor of positions", " and ".join(f"`{name}`" for name in found))
    return found[0] if found else None


def _is_position(name: str, shape: tuple[int, ...], width: int) -> bool:
    if not is_position_name(name):
        return False
    rows = prod(shape) // width if width else 0
    return len(shape) in (2, 3) and shape[-1] == width and rows > 1 and rows in shape


def _cls(rest: Shapes, width: int, parts: Parts, file: str) -> str | None:
    """Return the tensor of [CLS]: one vector, named so, or the only one that is no weight of a module."""
    vectors = [
        name
        for name, shape in rest.items()
        if prod(shape) == width and shape and shape[-1] == width and not is_position_name(name)
    ]
    embedded = [name for name in vectors if _is_embedded_cls(name, rest)]
    named = [name for name in vectors if is_cls_name(name)] + embedded
    if len(named) > 1:
        refuse(file, "one tensor of [CLS]", " and ".join(f"`{name}`" for name in named))
    if named:
        return named[0]
    loose = [
        name
        for name in vectors
        if name.rpartition(".")[2] not in ("weight", "bias", "running_mean", "running_var")
        and not _SPECIAL.search(name.lower())
    ]
    if len(loose) == 1:
        parts.assumed["cls"] = f"`{loose[0]}`, by its shape, is CLS"
        return loose[0]
    return None


def _is_embedded_cls(name: str, rest: Shapes) -> bool:
    """Tell whether a tensor is the weight of an embedding with [CLS] as its only row."""
    module, _, own = name.lower().rpartition(".")
    is_alone = f"{name.rpartition('.')[0]}.bias" not in rest
    says = ("cls" in module or "class" in module) and ("tok" in module or "emb" in module)
    return own == "weight" and says and is_alone and len(rest[name]) == 2


def _set_norms(parts: Parts, modules: Modules, tower: Tower) -> None:
    """Find the norms: of the tokens before the layers, of the states after them, of CLS before the head."""
    root = tower.name.rpartition(".")[0]
    beside_head = (parts.head or "").rpartition(".")[0]
    for name in (name for name, each in modules.items() if is_norm(each, tower.width)):
        parent = name.rpartition(".")[0]
        if root and parent == root and not _EARLY.search(name.removeprefix(root).lower()):
            role = "final_norm"
        elif parent and parent == beside_head:
            role = "head_norm"
        else:
            role = "early_norm" if _EARLY.search(name.lower()) else "final_norm"
        if getattr(parts, role) is None:
            setattr(parts, role, name)
            if role == "early_norm":
                parts.assumed["early norm"] = (
                    f"`{name}`, by its name, norms the tokens before the first layer"
                )


def _check_no_parallel_lists(rest: Shapes, tower: Tower, file: str) -> None:
    """Refuse lists as long as the layers, such as norms beside attentions: they belong into the layers."""
    count = len(tower.layers)
    lists: dict[tuple[str, tuple[int, ...]], set[str]] = {}
    for name, shape in rest.items():
        for number in re.finditer(r"\d+", name):
            pattern = f"{name[: number.start()]}#{name[number.end() :]}"
            lists.setdefault((pattern, shape), set()).add(number.group())
    for (pattern, _), numbers in lists.items():
        if count > 1 and numbers == {str(number) for number in range(count)}:
            refuse(
                file, f"all of each layer below `{tower.name}`", f"`{pattern.replace('#', '0')}` beside it"
            )
