"""How does weight flow on through whole layers? Sums over all queries, streamed in O(tokens) memory.

A vector over queries times the matrix of weights gives a vector over keys. With the vector of CLS, pushed
down through the layers, that is the CLS row of attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928);
with the uniform vector it is the weight each token receives. No tokens × tokens matrix is held.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.scores import query_scores, score_blocks, softmax_or_zero


def for_later(call: AttentionCall, *, with_values: bool) -> AttentionCall:
    """Return the call detached, without its output, weights and, unless they are needed, values."""
    nothing = call.query.new_empty(0)
    return replace(
        call,
        query=call.query.detach(),
        key=call.key.detach(),
        value=call.value.detach() if with_values else nothing,
        output=nothing,
        raw_output=None,
        weights=None,
        scores=None if call.scores is None else call.scores.detach(),
    )


def mix(call: AttentionCall, share: Tensor) -> Tensor:
    """Return Σ_i share_i · weight_ij for every key j.

    Args:
        call: An attention call, not one with CLS as the only query.
        share: `[sample, query]`, how much of each query's weights counts.

    Returns:
        `[sample, head, key]`, in the dtype of the share.
    """
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        result = share.new_zeros(call.samples, call.heads, call.keys)
        start = 0
        for weights in _weight_blocks(call):
            part = share[:, None, None, start : start + weights.shape[2]].to(weights.dtype)
            result += (part @ weights).squeeze(2)
            start += weights.shape[2]
        return result


def _weight_blocks(call: AttentionCall) -> Iterator[Tensor]:
    """Yield the weights of consecutive blocks of queries, `[sample, head, block, key]`."""
    exact = call.scores is None and call.log_sum_exp is not None and not call.log_sum_exp_error
    start = 0
    for scores in score_blocks(call):
        stop = start + scores.shape[2]
        if exact:
            assert call.log_sum_exp is not None
            yield scores.sub_(call.log_sum_exp[:, :, start:stop, None].to(scores.dtype)).exp_()
        else:
            yield softmax_or_zero(scores)
        start = stop


def roll_out(calls: Sequence[AttentionCall], position: Position) -> Tensor:
    """Return the attention of CLS through all layers, `[sample, token]`, in [0, 1], summing to 1.

    R = Π_l (½ I + ½ mean over heads of A_l), its CLS row, from the last layer down. The residual counts one
    half, values and feed-forward layers do not count: it tends to uniform with depth.

    Args:
        calls: One per layer, first layer first, as `for_later` gives them.
        position: Where CLS stands.
    """
    last = calls[-1]
    share = torch.zeros(last.samples, last.keys, dtype=last.dtype, device=last.query.device)
    share[torch.arange(last.samples, device=share.device), position.on(share.device).index] = 1.0
    for call in reversed(calls):
        device = call.query.device
        share = _one_layer_down(call, share.to(device), position.on(device))
    return share


def _one_layer_down(call: AttentionCall, share: Tensor, position: Position) -> Tensor:
    """Return where the share of each token comes from, one layer below.

    Tokens without a query in this layer keep their whole share: extra keys, and all but CLS where CLS alone
    asks.
    """
    asks = torch.zeros_like(share)
    if call.is_class_attention:
        asks[torch.arange(call.samples, device=share.device), position.index] = 1.0
        own = (share * asks).sum(-1)[:, None]
        row = softmax_or_zero(query_scores(call, position.index.new_zeros(1))[:, :, 0])
        mixed = own * row.mean(1)
    else:
        asks[:, : call.queries] = 1.0
        mixed = mix(call, share[:, : call.queries]).mean(1)
    return share * (1 - 0.5 * asks) + 0.5 * mixed


def received_weight(call: AttentionCall, token_mask: Tensor) -> Tensor:
    """Return the mean weight each token receives from all real tokens: `[sample, head, key]`, in [0, 1].

    NaN where CLS is the only query.

    Args:
        call: The attention call.
        token_mask: `[sample, key]`, True = real token.
    """
    if call.is_class_attention:
        shape = (call.samples, call.heads, call.keys)
        return torch.full(shape, float("nan"), dtype=call.dtype, device=call.query.device)
    real = token_mask[:, : call.queries].to(call.query.device, call.dtype)
    return mix(call, real / real.sum(-1, keepdim=True))
