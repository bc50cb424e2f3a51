"""Are the weights the trained ones? Missing from the file, untouched since init, the same in every layer."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import torch
from torch import nn

from clsight.doctor.examination import Examination, NotApplicableError, RefusedError
from clsight.doctor.findings import Finding, error, note, ok, warning
from clsight.doctor.initial_weights import looks_untouched
from clsight.doctor.registry import check
from clsight.loading.fitting import by_layer, names_in

_NAMED: Final = 4


@check(
    asks="Did every weight of the file load, and was every weight in the file?",
    finds={
        "error": "weights of a layer were not in the file",
        "warning": "other weights were not, or the file's weights of a layer found no place",
        "note": "the file holds more than the model takes",
    },
)
def weights_loaded(examination: Examination) -> Iterator[Finding]:
    """Read what the loader noted."""
    subject = examination.question.subject
    if subject is None or not {"missing", "unexpected"} & subject.provenance.keys():
        raise NotApplicableError("no loader told which weights were in a file")
    missing = names_in(subject.provenance.get("missing", {}))
    unexpected = names_in(subject.provenance.get("unexpected", {}))
    if missing:
        in_layers, elsewhere = _of_layers(examination, missing)
        told = error if in_layers else warning
        yield told(
            f"{_counted(missing)} missing from the file and stayed as the module was built, "
            f"{_kinds_of(examination.module, missing)}: {_places(in_layers, elsewhere)}.",
            why="Weights that were never trained answer at random, and so do the maps behind them.",
            next_step="Load the file into the class that wrote it, or look for another prefix of its names.",
        )
    if unexpected:
        in_layers, elsewhere = _of_layers(examination, unexpected)
        told = warning if in_layers else note
        yield told(
            f"{_counted(unexpected)} in the file and found no place: {_places(in_layers, elsewhere)}.",
            why="The model may be another one than the file's.",
            next_step="Compare the model's settings with those it was trained with.",
        )
    if not missing and not unexpected:
        yield ok("Every weight was in the file, and every weight of the file found its place.")


@check(
    asks="Has each layer been trained?",
    finds={"warning": "norms are 1 and 0 and attention biases 0 exactly, or weights follow an initial draw"},
)
def layers_are_trained(examination: Examination) -> Iterator[Finding]:
    """Look for layers as their initialization left them."""
    distinct = _distinct_layers(examination)
    reasons = {name: looks_untouched(module) for name, module in distinct.items()}
    untouched = {name: reason for name, reason in reasons.items() if reason}
    if not untouched:
        yield ok(f"All {len(distinct)} layers carry traces of training.")
        return
    yield warning(
        f"{_some(untouched, distinct)} untouched since initialization: {next(iter(untouched.values()))}.",
        why="Maps of random weights show the initialization, not what a model has learned.",
        next_step="Load the trained weights, and check that they reach these layers.",
    )


@check(
    asks="Do the layers have weights of their own?",
    finds={"warning": "two layers are equal bit for bit"},
)
def layers_differ(examination: Examination) -> Iterator[Finding]:
    """Compare each layer with every other."""
    distinct = _distinct_layers(examination)
    if len(distinct) < 2:
        raise NotApplicableError("there is one layer")
    equal = [group for group in _equal_groups(distinct) if len(group) > 1]
    if not equal:
        yield ok(f"No two of the {len(distinct)} layers are equal.")
        return
    yield warning(
        f"{sum(map(len, equal))} of {len(distinct)} layers have weights equal bit for bit (`{equal[0][0]}` "
        f"and `{equal[0][1]}`).",
        why="nn.TransformerEncoder copies one layer, so they start equal; trained ones never stay so.",
        next_step="If the model is trained, its weights did not load; if not, initialize each layer anew.",
    )


def _some(chosen: Iterable[str], every: Iterable[str]) -> str:
    """Return the beginning of a sentence about some layers, or about all."""
    chosen, every = list(chosen), list(every)
    if len(chosen) == len(every):
        return f"All {len(every)} layers look" if len(every) > 1 else f"The layer {_listed(every)} looks"
    return f"{len(chosen)} of {len(every)} layers ({_listed(chosen)}) look"


def _distinct_layers(examination: Examination) -> dict[str, nn.Module]:
    """Return the layers that are modules of their own and hold weights."""
    layers: dict[nn.Module, str] = {}
    for name, module in examination.layers.items():
        if module is not examination.module or len(examination.layers) == 1:
            layers.setdefault(module, name.partition("#")[0])
    named = {name: module for module, name in layers.items() if any(True for _ in module.parameters())}
    if not named:
        raise NotApplicableError("no layer is a module with weights of its own")
    return named


def _equal_groups(layers: dict[str, nn.Module]) -> list[list[str]]:
    """Return the names of layers in groups of equal ones."""
    groups: list[list[str]] = []
    for name, layer in layers.items():
        group = next((group for group in groups if _equal(layers[group[0]], layer)), None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    return groups


def _equal(one: nn.Module, other: nn.Module) -> bool:
    """Tell whether two modules hold equal weights that are not the same tensors."""
    first, second = dict(one.named_parameters()), dict(other.named_parameters())
    if first.keys() != second.keys() or all(first[name] is second[name] for name in first):
        return False
    matrices = [name for name in first if first[name].dim() > 1]
    if any(not torch.equal(first[name][:1], second[name][:1]) for name in matrices):
        return False  # told by one row, so that many large layers are compared at once
    return bool(matrices) and all(torch.equal(first[name], second[name]) for name in matrices)


def _of_layers(examination: Examination, names: Iterable[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many names belong to each attention layer, and to each other part of the model.

    Names in a file may have more in front. Without a record all names count as those of other parts.
    """
    try:
        layers = [layer for name in examination.layers if (layer := name.partition("#")[0])]
    except RefusedError:
        layers = []
    inside: dict[str, int] = {}
    outside: list[str] = []
    for name in names:
        layer = max((layer for layer in layers if f".{layer}." in f".{name}"), key=len, default="")
        if layer:
            inside[layer] = inside.get(layer, 0) + 1
        else:
            outside.append(name)
    return inside, {part or own[0]: len(own) for part, own in by_layer(outside).items()}


def _kinds_of(module: nn.Module, names: Iterable[str]) -> str:
    """Return in words how many of some tensors of a module are random, and how many hold one number."""
    held = module.state_dict()
    is_random = [name not in held or bool((held[name] != held[name].flatten()[:1]).any()) for name in names]
    random, constant = sum(is_random), len(is_random) - sum(is_random)
    if not random or not constant:
        return "all random" if random else "all constant"
    return f"{random} random and {constant} constant"


def _counted(names: Collection[str]) -> str:
    return f"{len(names)} weights were" if len(names) > 1 else "1 weight was"


def _places(in_layers: dict[str, int], elsewhere: dict[str, int]) -> str:
    """Return the names of layers and of other parts, some of each."""
    others = _listed(elsewhere)
    return ", elsewhere ".join(filter(None, (_listed(in_layers), others))) if in_layers else others


def _listed(names: Collection[str] | Mapping[str, int]) -> str:
    """Return some names, each with its number in brackets if it has one."""
    counts = names if isinstance(names, Mapping) else {}
    shown = [f"`{name}` ({counts[name]})" if counts else f"`{name}`" for name in names]
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more
