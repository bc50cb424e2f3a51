"""Evidence of attention weights, multiplied over layers: what both rules of Chefer et al. have in common."""

from collections.abc import Sequence

import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.operations import AttentionCall
from clsight.hooks.scores import per_query_head, score_blocks, softmax_or_zero
from clsight.interventions.opening import Opened


def at_outputs(opened: Opened, target: Tensor, *, keep_graph: bool = False) -> list[Tensor]:
    """Return what goes back from Σtarget to the output of every attention call of a model with a graph.

    Args:
        opened: A pass with a graph.
        target: `[sample]`.
        keep_graph: Whether to go back once more.

    Returns:
        Per layer `[sample, head, query, value_dim]`.

    Raises:
        CaptureError: If a layer is not reached.
    """
    taps = [layer.tap for layer in opened.seen if layer.tap is not None]
    outputs = [tap.edge for tap in taps]
    found: Sequence[Tensor | None] = [None]
    if target.requires_grad:
        ones = torch.ones_like(target)
        found = torch.autograd.grad(target, outputs, ones, allow_unused=True, retain_graph=keep_graph)
    missing = [layer.name for layer, one in zip(opened.layers, found, strict=False) if one is None]
    if missing:
        raise CaptureError(
            "target",
            expected="a target that depends on every layer's attention through a graph",
            got=f"one that layer `{missing[0]}` does not reach",
            next_step="Choose a target that the answer is read off, and run without no_grad inside",
        )
    given = zip(taps, found, strict=True)
    return [tap.call.in_canonical_layout(one.detach()) for tap, one in given if one is not None]


def multiplied(
    opened: Opened, gradients: Sequence[Tensor], factors: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the row of CLS in Π_l (I + evidence of layer l), last layer leftmost, and in each evidence.

    Args:
        opened: A pass with a graph.
        gradients: Per layer ∂target/∂output, `[sample, head, query, value_dim]`.
        factors: As for `through_weights_of`, per layer.

    Returns:
        `[sample, key]` and `[sample, layer, key]`.
    """
    last = opened.layers[-1].call
    order = torch.arange(last.samples, device=last.query.device)
    cls_only = torch.zeros(last.samples, last.keys, dtype=last.dtype, device=last.query.device)
    cls_only[order, opened.position.index] = 1.0
    relevance = cls_only.clone()
    rows: list[Tensor] = []
    for number in reversed(range(len(opened.layers))):
        call, gradient = opened.layers[number].call, gradients[number]
        factor = None if factors is None else factors[number]
        rows.insert(0, through_weights_of(call, gradient, cls_only, factor))
        relevance = relevance + through_weights_of(call, gradient, relevance, factor)
    return relevance, torch.stack(rows, dim=1)


def through_weights_of(
    call: AttentionCall, gradient: Tensor, share: Tensor, factor: Tensor | None = None
) -> Tensor:
    """Return Σ_i share_i · mean over heads of (∂target/∂A_ij · A_ij · f_ij)⁺ for each key j: `[sample, key]`.

    Args:
        call: The attention call.
        gradient: `[sample, head, query, value_dim]`, of the call's output.
        share: `[sample, query]`.
        factor: `[sample, head, query, value_dim]`; f_ij is its product with the value of j. None: f_ij is 1.
    """
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        values = per_query_head(call.value, call.heads).to(call.dtype).mT
        result = share.new_zeros(call.samples, call.keys)
        start = 0
        for scores in score_blocks(call):
            block = slice(start, start + scores.shape[2])
            of_weights = gradient[:, :, block].to(call.dtype) @ values
            if factor is not None:
                of_weights = of_weights * (factor[:, :, block].to(call.dtype) @ values)
            evidence = (of_weights * softmax_or_zero(scores)).clamp_min(0.0).mean(1)
            result += (share[:, None, block] @ evidence)[:, 0]
            start = block.stop
        return result
