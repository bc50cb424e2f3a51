"""One attention call seen through some of its heads, and a copy of its output in which they gave another."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clsight.hooks.operations import AttentionCall, unfold_mask
from clsight.hooks.positions import Position
from clsight.hooks.scores import cls_key_scores, query_scores, score_blocks, softmax_or_zero

_MINUS_INFINITY = -9e3  # models mask with finite numbers too, from −10,000 down


def of_heads(call: AttentionCall, heads: Sequence[int]) -> AttentionCall:
    """Return the call with some of its heads alone, each with its own keys and values, in the exact dtype."""
    chosen = torch.tensor(heads, device=call.query.device)
    groups = chosen // (call.heads // call.key.shape[1])

    def some(tensor: Tensor | None, which: Tensor) -> Tensor | None:
        return None if tensor is None else tensor.detach().index_select(1, which)

    mask = call.mask
    if mask is not None:
        mask = unfold_mask(mask.detach(), samples=call.samples, heads=call.heads)
        mask = mask if mask.shape[1] == 1 else mask.index_select(1, chosen)
    return replace(
        call,
        query=call.query.detach().index_select(1, chosen),
        key=call.key.detach().index_select(1, groups),
        value=call.value.detach().index_select(1, groups).to(call.dtype),
        output=call.output.detach().index_select(1, chosen).to(call.dtype),
        mask=mask,
        scores=some(call.scores, chosen),
        weights=some(call.weights, chosen),
        log_sum_exp=some(call.log_sum_exp, chosen),
    )


def with_output(call: AttentionCall, heads: Sequence[int], output: Tensor) -> Tensor:
    """Return the output that the model goes on with, in its own layout, if some heads had given another.

    Args:
        call: The whole call.
        heads: Which heads.
        output: `[sample, chosen head, query, value_dim]`, what they give instead.
    """
    assert call.raw_output is not None
    raw = call.raw_output.detach().clone()  # keeps the strides: models view the output as they laid it out
    view = call.in_canonical_layout(raw)
    assert view.untyped_storage().data_ptr() == raw.untyped_storage().data_ptr()
    view[:, list(heads)] = output.to(view.dtype)
    return raw


def asking(call: AttentionCall, position: Position) -> Position:
    """Return where CLS stands among the queries."""
    return Position.first_of(position.index) if call.is_class_attention else position


def cls_scores(call: AttentionCall, position: Position) -> Tensor:
    """Return the scores of the CLS query, `[sample, head, key]`."""
    asks = asking(call, position)
    index = asks.index[:1] if asks.common is not None else asks.index[:, None]
    return query_scores(call, index)[:, :, 0]


def cls_row(call: AttentionCall, position: Position) -> Tensor:
    """Return the weights with which the operation mixed the values for CLS, `[sample, head, key]`."""
    if call.weights is not None:
        return asking(call, position).at(call.weights).to(call.dtype)
    return softmax_or_zero(cls_scores(call, position))


def column_of(call: AttentionCall, position: Position) -> Tensor:
    """Return the weight that every query puts on the key at a position, `[sample, head, query]`."""
    if call.weights is not None:
        return position.at(call.weights.transpose(2, 3)).to(call.dtype)
    if call.log_sum_exp is not None and not call.log_sum_exp_error:
        scores = cls_key_scores(call, position)
        weights = torch.exp(scores - call.log_sum_exp.to(call.dtype))
        return weights.masked_fill(torch.isneginf(scores), 0.0)
    blocks = [position.at(softmax_or_zero(scores).transpose(2, 3)) for scores in score_blocks(call)]
    return torch.cat(blocks, dim=-1)


def without_keys(scores: Tensor, cut: Tensor) -> Tensor:
    """Return the weights if some keys were masked, renormalized; all zero where no other key is left.

    Args:
        scores: `[sample, head, …, key]`.
        cut: True at the keys to mask; broadcasts to the scores.
    """
    scores = scores.masked_fill(cut | (scores < _MINUS_INFINITY), float("-inf"))
    return softmax_or_zero(scores)
