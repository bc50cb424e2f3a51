"""Which of the attention calls of a forward pass belong to the sequence that CLS stands in?"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from clsight.errors import CaptureError, did_you_mean
from clsight.hooks.assembly import Layer
from clsight.hooks.layers import layer_names
from clsight.hooks.operations import Skipped
from clsight.hooks.unreadable import NO_PRODUCT

SkippedCall = tuple[tuple[str, ...], Skipped]
"""A call that is no self-attention, and the modules that were running, outermost first."""


def is_inside(path: tuple[str, ...], within: str | None) -> bool:
    """Tell whether a call was made inside the module `within`, or anywhere if it is None.

    A list of modules does not run itself: its name is part of the names of those in it.
    """
    return within is None or any(name == within or name.startswith(f"{within}.") for name in path)


def select_layers(
    layers: list[Layer], *, skipped: Sequence[SkippedCall], root: str
) -> tuple[list[Layer], list[str]]:
    """Return the layers whose tokens include CLS, and a sentence about each group of others.

    Single-query attention (CaiT) sees CLS in a sequence that earlier layers do not have: those are left out.
    A single query over the same sequence as other layers is a pooling head: it is left out. So is a module
    that builds its attention from several softmaxes, over tokens and over landmarks (Nyströmformer), and so
    are decoder layers: what stands beside cross attention is another sequence.

    Args:
        layers: All captured calls, in order.
        skipped: The calls that were no self-attention, with their module paths.
        root: Name of the whole module, for calls outside any submodule.

    Raises:
        CaptureError: If several sequences of different length remain, such as the towers of CLIP.
    """
    notes: list[str] = []
    calls = Counter(layer.path for layer in layers)
    paths = {path for path, _ in skipped}
    parts = [layer for layer in layers if layer.path in paths and calls[layer.path] > 1]
    if parts:
        layers = [layer for layer in layers if layer not in parts]
        notes.append(_left_out(parts, root, "several softmaxes together make up its attention"))
    crossed = [path for path, call in skipped if call.is_cross_attention]
    decoders = _beside_cross_attention(layers, crossed)
    if decoders:
        layers = [layer for layer in layers if layer not in decoders]
        notes.append(_left_out(decoders, root, "self-attention beside cross attention is that of a decoder"))
    single = {layer.tokens for layer in layers if layer.is_class_attention}
    full = {layer.tokens for layer in layers if not layer.is_class_attention}
    if single and full and not single & full:
        others = [layer for layer in layers if not layer.is_class_attention]
        layers = [layer for layer in layers if layer.is_class_attention]
        notes.append(_left_out(others, root, f"CLS enters the sequence later, in `{layers[0].path[-1]}`"))
    elif single and full:
        others = [layer for layer in layers if layer.is_class_attention]
        layers = [layer for layer in layers if not layer.is_class_attention]
        notes.append(
            _left_out(others, root, "one query over all tokens is a pooling head, not a layer of CLS")
        )
    if len({layer.tokens for layer in layers}) > 1:
        raise _several_sequences(layers, root)
    return layers, notes


def sentences_on(skipped: Sequence[SkippedCall], shown: Sequence[Layer], *, root: str) -> list[str]:
    """Return a sentence per reason why calls were left out, with the modules that made them.

    A softmax of something else than scores, in a module that also holds a layer that is shown, is no loss:
    it may be the gate of a mixture of experts.
    """
    modules: dict[str, list[str]] = {}
    for path, call in skipped:
        holds_a_layer = any(layer.path[: len(path)] == path for layer in shown)
        if call.reason != NO_PRODUCT or not holds_a_layer:
            modules.setdefault(call.reason, []).append(f"`{path[-1] or root}`")
    return [f"{', '.join(dict.fromkeys(names))} left out: {reason}" for reason, names in modules.items()]


def _beside_cross_attention(layers: list[Layer], crossed: list[tuple[str, ...]]) -> list[Layer]:
    """Return the layers that share a module of their own, below the root, with a cross-attention call."""
    found = []
    for path in crossed:
        shared = [len(set(path) & set(layer.path)) for layer in layers]
        nearest = [layer for layer, count in zip(layers, shared, strict=True) if count == max(shared)]
        if len(nearest) == 1 and max(shared) > 1 and nearest[0].path != path:
            found += nearest
    return found


def _left_out(layers: list[Layer], root: str, reason: str) -> str:
    names = ", ".join(dict.fromkeys(f"`{layer.path[-1] or root}`" for layer in layers))
    return f"{names} left out: {reason}"


def _several_sequences(layers: list[Layer], root: str) -> CaptureError:
    """Tell of several sequence lengths: towers, or one sequence that is shortened or grows on its way."""
    names = [name or root for name in layer_names([layer.path for layer in layers])]
    groups: dict[int, list[int]] = {}
    for place, layer in enumerate(layers):
        groups.setdefault(layer.tokens, []).append(place)
    shown = [_group(tokens, [names[place] for place in places]) for tokens, places in groups.items()]
    homes = [_home([layers[place] for place in places]) for places in groups.values()]
    held = [sum(home in layer.path for layer in layers) for home in homes]
    if held == [len(places) for places in groups.values()]:  # no home holds a layer of another group
        choices = " or ".join(f"`{home}`" for home in homes)
        next_step = f"Choose one with within=, here {choices}, and pass its cls_index"
    else:
        prefix = next(iter(groups.values()))
        last = next((here for here, after in pairwise(prefix) if after > here + 1), prefix[-1])
        next_step = (
            f"Only `{names[0]}` to `{names[last]}` can be compared, before the sequence changes: "
            f"capture the module that holds them alone, or one layer with within='{names[0]}'"
        )
    return CaptureError(
        root,
        expected="one sequence that all attention layers share",
        got="; ".join(shown),
        next_step=next_step,
    )


def _group(tokens: int, names: list[str]) -> str:
    """Return how many layers have so many tokens, and which."""
    if len(names) == 1:
        return f"1 layer of {tokens} tokens, `{names[0]}`"
    return f"{len(names)} layers of {tokens} tokens, `{names[0]}` to `{names[-1]}`"


def _home(group: list[Layer]) -> str:
    """Return the innermost module that holds all layers of a group."""
    return [name for name in group[0].path if all(name in layer.path for layer in group)][-1]


def no_such_module(within: str, names: list[str]) -> CaptureError:
    """Return the error for a `within` in which no attention ran."""
    return CaptureError(
        "within",
        expected="the name of a submodule in which attention runs",
        got=repr(within),
        next_step=did_you_mean(within, names),
    )
