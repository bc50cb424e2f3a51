"""How does the model's answer change with each weight of the CLS row? One backward pass, no tokens × tokens.

The output of attention at CLS is o = row · V, so ∂target/∂row = (∂target/∂o) · Vᵀ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from clsight.errors import CaptureError
from clsight.hooks.operations import AttentionCall, split
from clsight.hooks.positions import Position

Target = int | Sequence[int] | Tensor | Callable[[Any], Tensor]


@dataclass(frozen=True)
class Tap:
    """Where the gradient of one layer is read: the operation's own output, and the values behind it.

    Attributes:
        call: The attention call.
        raw_output: Its output in its own layout, as the model goes on with it.
        edge: Where that stood in the graph: a model may change it in place.
        version: How often it had been changed in place.
        position: Where CLS stands.
    """

    call: AttentionCall
    raw_output: Tensor
    edge: GradientEdge
    version: int
    position: Position

    def row_gradient(self, of_output: Tensor) -> Tensor:
        """Return ∂target/∂row, `[sample, head, key]`, from ∂target/∂output in the operation's own layout."""
        call = self.call
        position = Position.first_of(self.position.index) if call.is_class_attention else self.position
        at_cls = position.at(call.in_canonical_layout(of_output.detach())).to(call.dtype)
        value = call.value.detach().to(call.dtype)
        return (split(at_cls, 1, value.shape[1])[..., None, :] * value[:, :, None]).sum(-1).flatten(1, 2)


def tap(call: AttentionCall, position: Position) -> Tap:
    """Return the place to read the gradient of a call, whose output then takes part in the graph."""
    raw_output = call.output if call.raw_output is None else call.raw_output
    if not raw_output.requires_grad:
        raw_output.requires_grad_()
    return Tap(call, raw_output, get_gradient_edge(raw_output), raw_output._version, position)


def row_gradients(taps: Sequence[Tap], target: Tensor) -> list[Tensor] | None:
    """Return ∂Σtarget/∂row of each layer, `[sample, head, key]`, with one backward pass.

    No `.grad` of the model is touched, and the graph stays for the user's own backward pass.

    Returns:
        One per layer, or None where the target does not reach every layer through its graph.
    """
    outputs = [tap.edge for tap in taps]
    gradients = torch.autograd.grad(target.sum(), outputs, retain_graph=True, allow_unused=True)
    if any(gradient is None for gradient in gradients):
        return None
    return [tap.row_gradient(gradient) for tap, gradient in zip(taps, gradients, strict=True)]


def target_of(output: Any, logits: Tensor | None, target: Target | None) -> Tensor:
    """Return what is differentiated, `[sample]`: the logit of a class, or what a function gives.

    Raises:
        CaptureError: If there are no logits to choose from, or the target does not fit.
    """
    if callable(target):
        return _of_function(target, output)
    if logits is None:
        raise CaptureError(
            "gradient",
            expected="logits to differentiate",
            got="an output without them",
            next_step="Pass output=, a function from the model's output to its logits",
        )
    if target is None:
        return logits.amax(dim=1)
    return logits.gather(1, _classes(target, logits)[:, None]).squeeze(1)


def _classes(target: int | Sequence[int] | Tensor, logits: Tensor) -> Tensor:
    """Return the class that is meant in each sample, `[sample]`.

    Raises:
        CaptureError: If it is no whole number, there is no such class, or their number does not fit.
    """
    samples, classes = logits.shape
    try:
        index = torch.as_tensor(target, device=logits.device)
    except (TypeError, ValueError, RuntimeError):  # what torch raises for texts and ragged lists
        index = logits.new_empty(0)
    is_whole = not index.is_floating_point() and index.dtype != torch.bool and not index.is_complex()
    fits = is_whole and index.shape in ((), (1,), (samples,))
    if not fits or bool(((index < 0) | (index >= classes)).any()):
        raise CaptureError(
            "target",
            expected=f"a class between 0 and {classes - 1}, for all or for each of {samples} samples",
            got=repr(target) if isinstance(target, str) else str(target),
            next_step="Pass one class index, one per sample, or a function of the module's output",
        )
    return index.long().expand(samples)


def _of_function(target: Callable[[Any], Tensor], output: Any) -> Tensor:
    """Return what the user's function makes of the output, if it is one number per sample."""
    try:
        found = target(output)
    except Exception as error:
        raise CaptureError(
            "target",
            expected="a function from the module's output to one number per sample",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            next_step="Try the function on the output of a plain forward pass",
        ) from error
    if not isinstance(found, Tensor) or found.dim() > 1:
        raise CaptureError(
            "target",
            expected="a function that returns one number per sample",
            got=f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__,
            next_step="Choose one number per sample, such as output.logits[:, 3]",
        )
    return found
