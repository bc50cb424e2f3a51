"""Is there a rule for every operation between the target and the first layer? The graph tells them all.

What ran without a torch function, such as a model's own `autograd.Function`, is in the graph too.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge

from clsight.errors import CaptureError
from clsight.interventions.relevance_mode import Switch

# fmt: off
_REARRANGING = frozenset((
    "Alias", "Amax", "Amin", "AsStrided", "Cat", "Clone", "ConstantPadNd", "Copy", "CopySlices",
    "Diagonal", "Expand", "Flip", "Gather", "Index", "IndexFill", "IndexPut", "IndexSelect", "MaskedFill",
    "MaskedScatter", "MaskedSelect", "Max", "Min", "Permute", "Repeat", "ReshapeAlias", "Roll", "Rot90",
    "Scatter", "Select", "Slice", "Split", "SplitWithSizes", "Squeeze", "Stack", "T", "ToCopy", "Transpose",
    "Tril", "Triu", "Unbind", "Unfold", "UnsafeSplit", "UnsafeView", "Unsqueeze", "View", "Where",
))
# fmt: on
"""Operations that copy, move, choose or leave out numbers: relevance goes where their gradient goes."""


def need_rules(target: Tensor, layers: Iterable[GradientEdge], *, asked_by: str) -> None:
    """Refuse a graph with an operation that has no rule between the target and what attention gave.

    Args:
        target: What relevance starts at.
        layers: Where what the attention operations gave stood in the graph.
        asked_by: The subject of the message.

    Raises:
        CaptureError: With the name of the first such operation on the way down.
    """
    ends = {edge.node for edge in layers}
    order = _from_the_bottom(target.grad_fn)
    reaching: set[Any] = set()
    unknown = ""
    for node in order:
        passes = any(below in reaching or below in ends for below in _below(node))
        if passes:
            reaching.add(node)
            unknown = unknown if _is_known(node) else _name_of(node)
    if unknown:
        raise CaptureError(
            asked_by,
            expected="operations with a rule for relevance, from the first layer to the target",
            got=f"`{unknown}`",
            next_step="Ask for chefer, which needs gradients alone",
        )


def _from_the_bottom(top: Any) -> list[Any]:
    """Return every node below and including the top, each after all below it."""
    order: list[Any] = []
    seen: set[Any] = set()
    waiting = [(top, False)] if top is not None else []
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting.extend((below, False) for below in _below(node) if below not in seen)
    return order


def _below(node: Any) -> Iterator[Any]:
    """Yield the nodes that relevance goes to from one node."""
    edges = node.next_functions
    for below, _ in edges[1:] if _is_switch(node) else edges:  # the first is the operation itself
        if below is not None:
            yield below


def _is_switch(node: Any) -> bool:
    return getattr(node, "_forward_cls", None) is Switch


def _is_known(node: Any) -> bool:
    return _is_switch(node) or _plain_name(node) in _REARRANGING


def _plain_name(node: Any) -> str:
    """Return what a node is called in the graph, without what all names share."""
    return re.sub(r"Backward(s|\d+)?$", "", str(node.name()).rpartition("::")[2])


def _name_of(node: Any) -> str:
    """Return the name of the operation of a node, as a torch function is called."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _plain_name(node)).lower()
