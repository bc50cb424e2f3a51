"""Is the model as deep as it says? A depth that is ignored, layers that never run, one run many times."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from torch import nn

from clsight.doctor.examination import Examination, NotApplicableError
from clsight.doctor.findings import Finding, note, ok, warning
from clsight.doctor.registry import check

_DEPTHS: Final = ("depth", "n_layers", "n_layer", "num_layers", "num_hidden_layers", "num_blocks", "layers")
_NAMED: Final = 4


@check(
    asks="Do as many layers run as the model's settings say?",
    finds={"warning": "another number of layers ran, or layers of the model never ran"},
)
def depth_is_used(examination: Examination) -> Iterator[Finding]:
    """Compare what ran with what the settings say, and with what there is."""
    if any("left out" in remark for remark in examination.record.attrs["notes"]):
        raise NotApplicableError("some attention was left out of the record, so layers cannot be counted")
    ran = len(examination.layers)
    stated = _stated(examination)
    wrong = {name: value for name, value in stated.items() if value != ran}
    if wrong:
        name, value = next(iter(wrong.items()))
        yield warning(
            f"`{name}` is {value}, but {ran} attention layers ran: the depth is ignored.",
            why="The model is not as deep as its settings say, and studies of its depth are wrong.",
            next_step="Hand the depth on to what builds the layers (num_layers of nn.TransformerEncoder).",
        )
    idle = _idle(examination)
    if idle:
        yield warning(
            f"{len(idle)} layer{'s' * (len(idle) > 1)} never ran: {_some(idle)}.",
            why="They hold weights that nothing trains and no map shows.",
            next_step="Look into forward for a loop that ends early or skips them.",
        )
    if not wrong and not idle:
        yield ok(f"{ran} attention layers ran{', as the settings say' if stated else ''}.")


@check(
    asks="Is each layer a layer of its own?",
    finds={
        "warning": "the model lists one layer several times, or layers share their weights",
        "note": "one layer runs several times by design (ALBERT)",
    },
)
def layers_are_own(examination: Examination) -> Iterator[Finding]:
    """Look for one module under several names, shared weights, and repeated runs."""
    layers = examination.layers
    if len(layers) < 2:
        raise NotApplicableError("there is one layer")
    listed = _listed_twice(examination)
    shared = _sharing(list(dict.fromkeys(layers.values())))
    repeated = {name: runs for name, runs in _repeats(layers).items() if runs > 1}
    if listed:
        name, times = listed
        yield warning(
            f"One layer is listed {times} times (`{name}`): its weights are reused, not repeated.",
            why="[layer] * depth makes one layer that runs several times, with the weights of one.",
            next_step="Build each layer anew: nn.ModuleList(make_layer() for _ in range(depth)).",
        )
    elif shared:
        yield warning(
            f"{shared} layers share all their weight matrices.",
            why=f"They are one layer in {shared} places.",
            next_step="Unless that is meant, build each layer with weights of its own.",
        )
    elif repeated:
        name, runs = next(iter(repeated.items()))
        yield note(
            f"`{name}` runs {runs} times in a forward pass: one layer, {runs} maps.",
            why="Its maps differ only by what it is fed; a change of its weights changes all of them.",
            next_step="Nothing, if that is the design, as in ALBERT; the runs are named #0, #1, ….",
        )
    else:
        yield ok(f"All {len(layers)} layers are modules of their own.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_NAMED]) + more


def _stated(examination: Examination) -> dict[str, int]:
    """Return the depths that the model and what holds its layers state, by dotted name."""
    found: dict[str, int] = {}
    modules = dict(examination.module.named_modules())
    for path in _holders(examination):
        module = modules[path]
        prefix = f"{path}." if path else ""
        for place, owner in ((prefix, module), (f"{prefix}config.", getattr(module, "config", None))):
            values = {} if owner is None else _plain_values(owner)
            found |= {f"{place}{name}": values[name] for name in _DEPTHS if _is_count(values.get(name))}
    return found


def _plain_values(owner: Any) -> dict[str, Any]:
    if isinstance(owner, dict):
        return owner
    return {name: getattr(owner, name, None) for name in _DEPTHS if hasattr(owner, name)}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _holders(examination: Examination) -> list[str]:
    """Return the paths of all modules that hold every layer, outermost first."""
    names = [name.partition("#")[0] for name in examination.layers]
    parts = [name.split(".") for name in names]
    shared: list[str] = []
    for pieces in zip(*parts, strict=False):
        if len(set(pieces)) > 1:
            break
        shared.append(pieces[0])
    paths = [".".join(shared[:depth]) for depth in range(len(shared) + 1)]
    modules = dict(examination.module.named_modules())
    inside = [path for path in paths if path in modules and path not in names]
    return [path for path in inside if path or examination.question.within is None] or [""]


def _idle(examination: Examination) -> list[str]:
    """Return the outermost modules that never ran, of a class that layers which ran are of, or torch's own.

    Of containers, which hold anything, only siblings count; with `within` only what is inside it.
    """
    modules = dict(examination.module.named_modules())
    ran = {name.partition("#")[0] for name in examination.layers}
    siblings = {
        (name.rpartition(".")[0], type(modules[name])) for name in ran if "." in name and name in modules
    }
    kinds = {type(modules[name]) for name in ran if name in modules} | {nn.TransformerEncoderLayer}
    kinds = {kind for kind in kinds if not kind.__module__.startswith("torch.nn.modules.con")}
    within = examination.question.within
    inside = "" if within is None else f"{within}."
    runs = examination.first.result.runs
    idle: list[str] = []
    for name, module in modules.items():
        is_layer = type(module) in kinds or (name.rpartition(".")[0], type(module)) in siblings
        is_told = name in ran or name.startswith(tuple(f"{outer}." for outer in idle))
        if is_layer and name.startswith(inside) and not runs[name] and not is_told:
            idle.append(name)
    return idle


def _listed_twice(examination: Examination) -> tuple[str, int] | None:
    """Return the name of a layer that is registered under several names, and how many."""
    layers = set(examination.layers.values())
    named = examination.module.named_modules(remove_duplicate=False)
    counts = Counter(module for _, module in named if module in layers and module is not examination.module)
    most = counts.most_common(1)
    if not most or most[0][1] < 2:
        return None
    module, times = most[0]
    return next(name for name, own in examination.module.named_modules() if own is module), times


def _sharing(modules: list[nn.Module]) -> int:
    """Return how many modules share every weight matrix with another one."""
    keys = [tuple(id(weight) for weight in module.parameters() if weight.dim() > 1) for module in modules]
    counts = Counter(key for key in keys if key)
    return sum(count for count in counts.values() if count > 1)


def _repeats(layers: dict[str, nn.Module]) -> Counter[str]:
    return Counter(name.partition("#")[0] for name in layers)
