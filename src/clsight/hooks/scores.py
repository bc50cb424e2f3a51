"""The scaled and masked scores of one attention call: of a few queries, of the CLS key, or block by block."""

from collections.abc import Iterator

import torch
from torch import Tensor

from clsight.hooks.operations import AttentionCall, split, unfold_mask
from clsight.hooks.positions import Position, rows_at
from clsight.hooks.products import product, product_in

_BLOCK_BYTES = 32 * 2**20


def query_scores(call: AttentionCall, index: Tensor) -> Tensor:
    """Return the scores of a few queries: `[sample, head, chosen, key]`.

    Args:
        call: The attention call.
        index: `[chosen]` or `[sample, chosen]`, positions of the queries.
    """
    if call.scores is not None:
        return rows_at(call.scores, index).to(call.dtype)
    query = rows_at(call.query, index)
    grouped = split(query, 1, call.key.shape[1]).flatten(2, 3)
    scores = product_in(call.dtype, grouped, call.key.transpose(2, 3)).reshape(*query.shape[:3], -1)
    scores = scores.mul_(call.scale)
    if call.mask is not None:
        scores = _masked(scores, _mask_rows(_mask_of(call), index))
    if call.is_causal:
        later = torch.arange(call.keys, device=scores.device) > index[..., None]
        scores = scores.masked_fill(later if index.dim() == 1 else later[:, None], float("-inf"))
    return scores


def cls_key_scores(call: AttentionCall, position: Position) -> Tensor:
    """Return the scores of every query against the CLS key: `[sample, head, query]`."""
    if call.scores is not None:
        return position.at(call.scores.transpose(2, 3)).to(call.dtype)
    key = position.at(call.key)
    if call.key.shape[1] == call.heads:
        scores = product_in(call.dtype, key[:, :, None], call.query.transpose(2, 3)).squeeze(2)
    else:
        queries = split(call.query, 1, call.key.shape[1]).to(call.dtype)
        scores = (queries * key.to(call.dtype)[:, :, None, None]).sum(-1).flatten(1, 2)
    scores = scores.mul_(call.scale)
    if call.mask is not None:
        scores = _masked(scores, _mask_column(call, position))
    if call.is_causal:
        earlier = torch.arange(call.queries, device=scores.device) < position.index[:, None]
        scores = scores.masked_fill(earlier[:, None], float("-inf"))
    return scores


def score_blocks(call: AttentionCall) -> Iterator[Tensor]:
    """Yield the scores of consecutive blocks of queries: `[sample, head, block, key]`."""
    row_bytes = call.samples * call.heads * call.keys * call.dtype.itemsize
    size = max(1, _BLOCK_BYTES // max(1, row_bytes))
    keys = per_query_head(call.key, call.heads).to(call.dtype).transpose(2, 3)
    mask = None if call.mask is None else _mask_of(call).expand(-1, -1, call.queries, -1)
    for start in range(0, call.queries, size):
        block = slice(start, start + size)
        if call.scores is not None:
            yield call.scores[:, :, block].to(call.dtype)
            continue
        scores = product(call.query[:, :, block].to(call.dtype), keys).mul_(call.scale)
        if mask is not None:
            scores = _masked(scores, mask[:, :, block])
        if call.is_causal:
            positions = torch.arange(start, start + scores.shape[2], device=scores.device)
            later = torch.arange(call.keys, device=scores.device) > positions[:, None]
            scores = scores.masked_fill(later, float("-inf"))
        yield scores


def may_be_masked(call: AttentionCall) -> bool:
    """Tell whether some scores of a call may be −inf by design."""
    return call.mask is not None or call.is_causal or call.scores is not None


def softmax_or_zero(scores: Tensor) -> Tensor:
    """Return the softmax over the last dimension; zero where every score is −inf, as fused kernels do."""
    nothing_to_see = torch.isneginf(scores.amax(-1, keepdim=True))
    return torch.softmax(scores, dim=-1).masked_fill(nothing_to_see, 0.0)


def per_query_head(tensor: Tensor, heads: int) -> Tensor:
    """Return grouped key or value heads repeated so that there is one per query head."""
    return tensor if tensor.shape[1] == heads else tensor.repeat_interleave(heads // tensor.shape[1], dim=1)


def _mask_of(call: AttentionCall) -> Tensor:
    """The mask as it was given, with four dimensions: each of its own size or 1."""
    assert call.mask is not None
    return unfold_mask(call.mask.detach(), samples=call.samples, heads=call.heads)


def _mask_rows(mask: Tensor, index: Tensor) -> Tensor:
    """Return the mask of a few queries, which broadcasts to `[sample, head, chosen, key]`."""
    if mask.shape[2] == 1:
        return mask
    if index.dim() == 2:
        mask = mask.expand(len(index), -1, -1, -1)
    return rows_at(mask, index)


def _mask_column(call: AttentionCall, position: Position) -> Tensor:
    """Return the mask of the CLS key, which broadcasts to `[sample, head, query]`."""
    mask = _mask_of(call).expand(call.samples, -1, -1, call.keys)
    return position.at(mask.transpose(2, 3))


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Apply a boolean (True = may attend) or additive mask that broadcasts to the scores."""
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, float("-inf"))
    return scores + mask.to(scores.dtype)
