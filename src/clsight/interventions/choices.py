"""What does a user mean: which layers, heads, flavors, cells? Checked, and refused in a sentence."""

from collections.abc import Sequence
from typing import Final, TypedDict

import numpy as np

from clsight.errors import CaptureError, did_you_mean
from clsight.hooks.forward import ClsIndex
from clsight.hooks.recorder import TokenMask
from clsight.interventions.plan import Site


class Asked(TypedDict, total=False):
    """What may be stated of a call, as for `clsight.capture`."""

    cls_index: ClsIndex | None
    token_mask: TokenMask | None
    within: str | None


Layers = int | str | Sequence[int | str] | None
Heads = int | Sequence[int] | None
CELLS: Final[dict[tuple[str, ...], str]] = {
    ("layer", "head"): "each head of each layer",
    ("layer",): "all chosen heads of each layer at once",
    (): "all chosen heads of all chosen layers at once",
}
"""What one cell of an intervention can be, by the dims of its result."""


def chosen_sites(sites: Sequence[Site], layers: Layers) -> list[Site]:
    """Return the layers that are meant, in the order of the model.

    Args:
        sites: All layers.
        layers: Indices, negative from the end, or names; None for all.

    Raises:
        CaptureError: If a layer is unknown, or none is chosen.
    """
    if layers is None:
        return list(sites)
    wanted = [layers] if isinstance(layers, int | str | np.integer) else list(layers)
    names = {site.name: site.layer for site in sites}
    found = {names[one] if isinstance(one, str) and one in names else _index(one, names) for one in wanted}
    if not found:
        raise _nothing("layers", f"one layer or more, 0 to {len(sites) - 1}")
    return [site for site in sites if site.layer in found]


def chosen_heads(count: int, heads: Heads) -> list[int]:
    """Return the heads that are meant, in order.

    Args:
        count: Number of heads.
        heads: Indices, negative from the end; None for all.

    Raises:
        CaptureError: If a head is unknown, or none is chosen.
    """
    if heads is None:
        return list(range(count))
    wanted = [heads] if isinstance(heads, int | np.integer) else list(heads)
    for one in wanted:
        if not _is_index(one, count):
            raise CaptureError(
                "heads",
                expected=f"indices of heads, 0 to {count - 1}",
                got=repr(one),
                next_step=f"The model has {count} heads in each layer: choose among them",
            )
    if not wanted:
        raise _nothing("heads", f"one head or more, 0 to {count - 1}")
    return sorted({int(one) % count for one in wanted})


def chosen_names(what: str, given: str | Sequence[str], options: Sequence[str]) -> list[str]:
    """Return names that are all among the options, in the order given, each once.

    Raises:
        CaptureError: If a name is unknown, or none is given.
    """
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if name not in options:
            raise CaptureError(
                what,
                expected=f"one of {', '.join(options)}",
                got=repr(name),
                next_step=did_you_mean(str(name), options),
            )
    if not names:
        raise _nothing(what, f"one or more of {', '.join(options)}")
    return list(dict.fromkeys(names))


def cell_dims(per: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the dims of cells that are meant by `per`.

    Raises:
        CaptureError: If cells cannot be made so.
    """
    dims = () if per is None else (per,) if isinstance(per, str) else tuple(per)
    if dims not in CELLS:
        raise CaptureError(
            "per",
            expected='("layer", "head"), "layer" or None',
            got=repr(per),
            next_step="Heads of one index in different layers have nothing in common: choose one with heads=",
        )
    return dims


def _index(one: object, names: dict[str, int]) -> int:
    count = len(names)
    if isinstance(one, int | np.integer) and _is_index(one, count):
        return int(one) % count
    raise CaptureError(
        "layers",
        expected=f"indices, 0 to {count - 1}, or names of layers",
        got=repr(one),
        next_step=did_you_mean(str(one), names),
    )


def _is_index(one: object, count: int) -> bool:
    return isinstance(one, int | np.integer) and not isinstance(one, bool) and -count <= int(one) < count


def _nothing(subject: str, expected: str) -> CaptureError:
    return CaptureError(subject, expected=expected, got="none", next_step="Pass None for all")
