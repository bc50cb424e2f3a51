"""Which part of a checkpoint's names is wrapping? Trainers put `model.` or `state_dict.` in front."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final, TypeVar

Value = TypeVar("Value")

CONTAINERS: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
)
"""Names under which trainers keep the weights, the likeliest first."""
_WRAPPING: Final = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What torch itself writes into names, also in the middle: for compiled, sharded, recomputed modules."""


def without_wrapping(name: str) -> str:
    """Return a tensor's name without the parts that torch's own wrappers put in.

    Example:
        >>> without_wrapping("model._orig_mod.encoder.weight")
        'model.encoder.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPING) or name


def peel(tensors: Mapping[str, Value]) -> tuple[str, dict[str, Value]]:
    """Return the wrapping that all the weights share, and the weights by their names inside it.

    Goes by the names alone, for when no module is there to compare with. Where a checkpoint keeps several
    things, such as `state_dict` and `state_dict_ema`, the first of `CONTAINERS` is taken and the
    rest left out.

    Example:
        >>> peel({"state_dict.model.a.weight": 1, "state_dict.model.b.weight": 2, "ema.decay": 3})
        ('state_dict.model.', {'a.weight': 1, 'b.weight': 2})
    """
    names = {without_wrapping(name): name for name in tensors}
    prefix = ""
    while (container := _container(names)) is not None:
        prefix += f"{container}."
        names = {
            name.removeprefix(f"{container}."): old
            for name, old in names.items()
            if name.startswith(f"{container}.")
        }
    return prefix, {name: tensors[old] for name, old in names.items()}


def _container(names: Collection[str]) -> str | None:
    """Return the container that holds the weights: at least two names, and half of all."""
    counts = Counter(name.split(".", maxsplit=1)[0] for name in names if "." in name)
    for container in CONTAINERS:
        if counts[container] >= max(2, len(names) / 2) or (container == "state_dict" and counts[container]):
            return container
    return None


def best_prefix(names: Collection[str], wanted: Collection[str]) -> str:
    """Return the prefix of `names` behind which most of `wanted` stand; "" if none does.

    Where several hold as many, one that is not an average of weights wins, then the shortest.
    """
    counts = Counter[str]({"": 0})
    for name in names:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                counts["".join(f"{part}." for part in parts[:start])] += 1
    return min(counts, key=lambda prefix: (-counts[prefix], "ema" in prefix, len(prefix), prefix))
