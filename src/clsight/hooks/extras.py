"""What `keep=` adds to a record: variables made from the layers of one finished forward pass."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from clsight.hooks.assembly import Layer
from clsight.hooks.gradient import Target, row_gradients, target_of
from clsight.hooks.mixing import received_weight, roll_out
from clsight.hooks.positions import Position
from clsight.hooks.residual import ResidualStream
from clsight.hooks.scores import per_query_head
from clsight.hooks.shelf import stacked

WEIGHTS = ("sample", "layer", "head", "token")
VECTORS = ("sample", "layer", "head", "token", "head_dim")


@dataclass
class Extras:
    """Variables to add to a record, and those that could not be made.

    Attributes:
        variables: Name to dimensions and tensor.
        absent: Name to the reason why it is missing.
    """

    variables: dict[str, tuple[tuple[str, ...], Tensor]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A forward pass that has run, as far as `keep=` needs it.

    Attributes:
        layers: The layers that hold CLS, in order.
        names: A name per layer.
        position: Where CLS stands.
        token_mask: `[sample, key]`, True = real token.
        stream: CLS between blocks.
        output: What the module returned.
        logits: `[sample, class]` with its graph, or None.
        target: What to differentiate, as the user gave it.
    """

    layers: list[Layer]
    names: list[str]
    position: Position
    token_mask: Tensor
    stream: ResidualStream
    output: Any
    logits: Tensor | None
    target: Target | None


def make_extras(finished: Finished, keep: frozenset[str]) -> Extras:
    """Return the variables that `keep` asks for."""
    makers: dict[str, Callable[[Finished, Extras], None]] = {
        "keys_values": _keys_values,
        "contributions": _contributions,
        "hidden": _hidden,
        "rollout": _rollout,
        "received": _received,
        "gradient": _gradient,
    }
    extras = Extras()
    for name, make in makers.items():
        if name in keep:
            make(finished, extras)
    return extras


def _keys_values(finished: Finished, extras: Extras) -> None:
    calls = [layer.call for layer in finished.layers if layer.call is not None]
    for name in ("key", "value"):
        tensors = [per_query_head(getattr(call, name).detach(), call.heads) for call in calls]
        if tensors[0].shape[-1] != calls[0].query.shape[-1]:
            extras.absent[f"{name}s"] = "its head width differs from the query's"
        else:
            extras.variables[f"{name}s"] = (VECTORS, stacked(tensors))


def _contributions(finished: Finished, extras: Extras) -> None:
    found = [layer.contribution_norm for layer in finished.layers if layer.contribution_norm is not None]
    if len(found) < len(finished.layers):
        extras.absent["contribution_norm"] = "the output projection was not found in every layer"
    else:
        extras.variables["contribution_norm"] = (("sample", "layer", "token"), stacked(found))


def _hidden(finished: Finished, extras: Extras) -> None:
    states, reason = finished.stream.joined(finished.names)
    if states is None:
        extras.absent["hidden"] = reason
    else:
        extras.variables["hidden"] = (("sample", "depth", "channel"), states)


def _rollout(finished: Finished, extras: Extras) -> None:
    calls = [layer.call for layer in finished.layers if layer.call is not None]
    extras.variables["rollout"] = (("sample", "token"), roll_out(calls, finished.position))


def _received(finished: Finished, extras: Extras) -> None:
    calls = [layer.call for layer in finished.layers if layer.call is not None]
    weights = [received_weight(call, finished.token_mask) for call in calls]
    extras.variables["received"] = (WEIGHTS, stacked(weights))


def _gradient(finished: Finished, extras: Extras) -> None:
    taps = [layer.tap for layer in finished.layers if layer.tap is not None]
    target = target_of(finished.output, finished.logits, finished.target)
    if not target.requires_grad:
        extras.absent["attends_to_gradient"] = "the target does not depend on attention through a graph"
        return
    gradients = row_gradients(taps, target)
    if gradients is None:
        extras.absent["attends_to_gradient"] = "the target does not reach every layer through its graph"
    else:
        extras.variables["attends_to_gradient"] = (WEIGHTS, stacked(gradients))
