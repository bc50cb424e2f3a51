"""What a reader of the maps should know of how a model was loaded, in sentences."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from clsight.loading.fitting import names_in

_SHOWN: Final = 4


def loading_notes(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence on a reconstructed forward pass, or on the weights that found no place.

    Args:
        provenance: Of a `Subject`.

    Example:
        >>> loading_notes({"missing": {"layers.1": ["weight", "bias"]}, "unexpected": {}})
        ('2 weights were not in the file and keep their start: `layers.1` (2)',)
        >>> loading_notes({"missing": {}, "unexpected": {"": ["scale"]}})
        ('1 weight of the file found no place: `scale`',)
    """
    if sentence := reconstruction_sentence(provenance):
        return (sentence,)
    missing, unexpected = provenance.get("missing", {}), provenance.get("unexpected", {})
    told = []
    if missing:
        several = len(names_in(missing)) > 1
        kept = (
            "were not in the file and keep their start"
            if several
            else "was not in the file and keeps its start"
        )
        told.append(f"{_weights(missing)} {kept}: {_of_layers(missing)}")
    if unexpected:
        told.append(f"{_weights(unexpected)} of the file found no place: {_of_layers(unexpected)}")
    return tuple(told)


def _weights(layers: Mapping[str, list[str]]) -> str:
    count = len(names_in(layers))
    return f"{count} weight{'s' if count > 1 else ''}"


def _of_layers(layers: Mapping[str, list[str]]) -> str:
    """Return layers with the number of their weights; weights in none by their names."""
    alone = [f"`{name}`" for name in layers.get("", [])]
    return _some([*(f"`{layer}` ({len(names)})" for layer, names in layers.items() if layer), *alone])


def _some(things: list[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return f"{', '.join(things[:_SHOWN])}{more}"


def reconstruction_sentence(provenance: Mapping[str, Any]) -> str:
    """Return what a reconstructed forward pass rests on, in one sentence; "" if none was reconstructed.

    Args:
        provenance: Of a `Subject`.

    Example:
        >>> told = {"layers": "2 layers", "width": "width 8"}
        >>> reconstruction_sentence({"forward": "reconstructed", "inferred": told, "assumed": {"": "relu"}})
        'Reconstructed forward. Inferred: 2 layers, width 8; assumed: relu.'
    """
    if provenance.get("forward") != "reconstructed":
        return ""
    parts = [f"Inferred: {', '.join(provenance['inferred'].values())}"]
    if provenance.get("assumed"):
        parts.append(f"assumed: {', '.join(provenance['assumed'].values())}")
    if unused := _unused(provenance):
        parts.append(f"not used: {_some(unused)}")
    return f"Reconstructed forward. {'; '.join(parts)}."


def _unused(provenance: Mapping[str, Any]) -> list[str]:
    """Return the tensors of the file that are not used; those beside the weights by what holds them."""
    aside = provenance.get("set_aside", {})
    weights, names = provenance.get("prefix", ""), names_in(provenance.get("unexpected", {}))
    unused = [f"`{module}` ({why})" for module, why in aside.items()]
    unused += [f"`{name}`" for name in names if name.startswith(weights) and not _is_below(name, aside)]
    beside = Counter(name.partition(".")[0] for name in names if not name.startswith(weights))
    return [*unused, *(f"`{name}`{f' ({count})' if count > 1 else ''}" for name, count in beside.items())]


def _is_below(name: str, modules: Iterable[str]) -> bool:
    """Tell whether a tensor of the file, whatever wraps its name, belongs to one of the modules."""
    return any(f".{module}." in f".{name}" for module in modules)
