"""Are the weights the trained ones? Missing from the file, untouched since init, the same in every layer."""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from clsight.doctor.examination import Examination, NotApplicableError, RefusedError
from clsight.doctor.findings import Finding, error, note, ok, warning
from clsight.doctor.initial_weights import looks_untouched
from clsight.doctor.registry import check
from clsight.loading.fitting import names_in

_NAMED = 4


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
        in_layers = _of_layers(examination, missing)
        told = error if in_layers else warning
        yield told(
            f"{len(missing)} weights were not in the file and are random: {_listed(in_layers or missing)}.",
            why="Random weights answer at random, and so do the maps behind them.",
            next_step="Load the file into the class that wrote it, or look for another prefix of its names.",
        )
    if unexpected:
        in_layers = _of_layers(examination, unexpected)
        told = warning if in_layers else note
        yield told(
            f"{len(unexpected)} weights of the file found no place: {_listed(in_layers or unexpected)}.",
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
    """Compare each layer with the one before it."""
    distinct = _distinct_layers(examination)
    if len(distinct) < 2:
        raise NotApplicableError("there is one layer")
    equal = [(one, other) for one, other in pairwise(distinct) if _equal(distinct[one], distinct[other])]
    if not equal:
        yield ok(f"No two of the {len(distinct)} layers are equal.")
        return
    yield warning(
        f"{len(equal) + 1} of {len(distinct)} layers have weights equal bit for bit (`{equal[0][0]}` and "
        f"`{equal[0][1]}`).",
        why="nn.TransformerEncoder copies one layer, so they start equal; trained ones never stay so.",
        next_step="If the model is trained, its weights did not load; if not, initialize each layer anew.",
    )


def _some(chosen: Collection[str], every: Collection[str]) -> str:
    """Return the beginning of a sentence about some layers, or about all."""
    if len(chosen) == len(every):
        return (
            f"All {len(every)} layers look" if len(every) > 1 else f"The layer {_listed(list(every))} looks"
        )
    return f"{len(chosen)} of {len(every)} layers ({_listed(list(chosen))}) look"


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


def _equal(one: nn.Module, other: nn.Module) -> bool:
    """Tell whether two modules hold equal weights that are not the same tensors."""
    first, second = dict(one.named_parameters()), dict(other.named_parameters())
    if first.keys() != second.keys() or all(first[name] is second[name] for name in first):
        return False
    matrices = [name for name in first if first[name].dim() > 1]
    return bool(matrices) and all(torch.equal(first[name], second[name]) for name in matrices)


def _of_layers(examination: Examination, names: list[Any]) -> list[str]:
    """Return the attention layers that names belong to, each with their number; none if nothing ran."""
    try:
        layers = [name.partition("#")[0] for name in examination.layers]
    except RefusedError:
        return []
    counts = Counter(next((layer for layer in layers if layer and layer in str(name)), "") for name in names)
    return [f"{layer} ({count})" for layer, count in counts.items() if layer]


def _listed(names: list[Any]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
