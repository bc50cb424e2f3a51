"""What does CLS attend to, and who attends to CLS, in one attention call: exact, in O(tokens) memory.

The row is the softmax of the CLS query against all keys. The column is `exp(score − log-sum-exp)` of every
query against the CLS key, with the log-sum-exp of the kernel that ran; without one it is streamed over blocks
of queries. Both are compared at once with what the operation itself gave.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clsight.hooks.operations import AttentionCall, split, unfold_mask

_BLOCK_BYTES = 32 * 2**20
_BATCHED_BYTES = 2 * 2**20
_BLURRED = 2.5e-7
_BLURRED_HALF = 5e-6
_MASK_LIKE = -6e4  # float16's lowest is -65,504


@dataclass(frozen=True)
class ClsView:
    """One layer as CLS sees it, detached from the graph.

    Attributes:
        row: `[sample, head, key]`, softmax weights of the CLS query, before dropout; sums to 1 (to 0 where
            every key is masked).
        column: `[sample, head, key]`, the weight that each token's query puts on CLS; NaN where a key is no
            query.
        query: `[sample, head, head_dim]`, the CLS query.
        key: `[sample, head, head_dim]`, the CLS key.
        value: `[sample, head, value_dim]`, the CLS value.
        output_error: `[sample]`, in [0, ∞): ‖row · value − output at CLS‖ over Σ_j row_j ‖value_j‖, the
            largest over heads; NaN with active dropout.
        column_error: `[sample]`, in [0, 1]: largest difference between the column and two other queries whose
            rows were computed whole.
        largest_score: `[sample]`, largest absolute finite score in row and column; it sets the tolerance.
        kernel: Name of the kernel, and how the column was made where that differs.
    """

    row: Tensor
    column: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    output_error: Tensor
    column_error: Tensor
    largest_score: Tensor
    kernel: str


def view_cls(call: AttentionCall, cls_index: Tensor) -> ClsView:
    """Return what CLS attends to and who attends to CLS in one attention call.

    Args:
        call: The operation, in canonical layout.
        cls_index: `[sample]`, int64, the position of CLS among the queries, 0 ≤ index < queries.
    """
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        if call.is_class_attention:
            return _view_class_attention(call, cls_index)
        queries = torch.stack([cls_index, *_checked_queries(call, cls_index)], dim=1)
        row_scores = query_scores(call, queries)
        rows = softmax_or_zero(row_scores)
        column_scores = _cls_key_scores(call, cls_index)
        column, how = _column(call, column_scores, cls_index)
        row = rows[:, :, 0]
        return ClsView(
            row=row,
            column=torch.nn.functional.pad(column, (0, call.extra_keys), value=float("nan")),
            query=at(call.query.detach(), cls_index),
            key=at(per_query_head(call.key.detach(), call.heads), cls_index),
            value=at(per_query_head(call.value.detach(), call.heads), cls_index),
            output_error=_output_error(call, row, cls_index),
            column_error=_column_error(column, rows, queries),
            largest_score=torch.maximum(_largest(row_scores[:, :, 0], row), _largest(column_scores, column)),
            kernel=f"{call.kernel}{how}",
        )


def _view_class_attention(call: AttentionCall, cls_index: Tensor) -> ClsView:
    """Return the view where CLS alone asks: a row, and of the column only what CLS puts on itself."""
    only = torch.zeros_like(cls_index)
    scores = query_scores(call, only[:, None])[:, :, 0]
    row = softmax_or_zero(scores)
    itself = torch.zeros_like(row, dtype=torch.bool)
    itself[torch.arange(call.samples, device=row.device), :, cls_index] = True
    return ClsView(
        row=row,
        column=row.masked_fill(~itself, float("nan")),
        query=at(call.query.detach(), only),
        key=at(per_query_head(call.key.detach(), call.heads), cls_index),
        value=at(per_query_head(call.value.detach(), call.heads), cls_index),
        output_error=_output_error(call, row, only),
        column_error=torch.zeros(call.samples, dtype=row.dtype, device=row.device),
        largest_score=_largest(scores, row),
        kernel=f"{call.kernel}, CLS is the only query",
    )


def at(tensor: Tensor, index: Tensor) -> Tensor:
    """Return `tensor[sample, :, index[sample]]`: `[sample, head, token, …]` to `[sample, head, …]`."""
    return tensor[torch.arange(tensor.shape[0], device=tensor.device), :, index]


def per_query_head(tensor: Tensor, heads: int) -> Tensor:
    """Return grouped key or value heads repeated so that there is one per query head."""
    return tensor if tensor.shape[1] == heads else tensor.repeat_interleave(heads // tensor.shape[1], dim=1)


def rows_at(tensor: Tensor, index: Tensor) -> Tensor:
    """Return `tensor[sample, :, index[sample, chosen]]`: `[sample, head, token, …]` to `[…, chosen, …]`."""
    samples = torch.arange(tensor.shape[0], device=tensor.device)
    return tensor[samples[:, None], :, index].transpose(1, 2)


def query_scores(call: AttentionCall, index: Tensor) -> Tensor:
    """Return the scaled and masked scores of a few queries: `[sample, head, chosen, key]`.

    Args:
        call: The attention call.
        index: `[sample, chosen]`, positions of the queries.
    """
    if call.scores is not None:
        return rows_at(call.scores, index).to(call.dtype)
    query = split(rows_at(call.query, index).to(call.dtype), 1, call.key.shape[1])
    key = call.key[:, :, None].to(call.dtype)
    if key.nbytes * index.shape[1] <= _BATCHED_BYTES:
        scores = (key[:, :, :, None] * query[..., None, :]).sum(-1)
    else:  # one query at a time holds one copy of the keys
        scores = torch.stack([(key * one[..., None, :]).sum(-1) for one in query.unbind(3)], dim=3)
    scores = scores.flatten(1, 2) * call.scale
    if call.mask is not None:
        scores = _masked(scores, rows_at(_full_mask(call), index))
    if call.is_causal:
        later = torch.arange(call.keys, device=scores.device) > index[:, :, None]
        scores = scores.masked_fill(later[:, None], float("-inf"))
    return scores


def _cls_key_scores(call: AttentionCall, cls_index: Tensor) -> Tensor:
    """Return the scaled and masked scores of every query against the CLS key: `[sample, head, query]`."""
    if call.scores is not None:
        return at(call.scores.transpose(2, 3), cls_index).to(call.dtype)
    key = at(call.key, cls_index).to(call.dtype)
    queries = split(call.query, 1, call.key.shape[1]).to(call.dtype)
    scores = (queries * key[:, :, None, None]).sum(-1).flatten(1, 2) * call.scale
    if call.mask is not None:
        scores = _masked(scores, at(_full_mask(call).transpose(2, 3), cls_index))
    if call.is_causal:
        earlier = torch.arange(call.queries, device=scores.device) < cls_index[:, None]
        scores = scores.masked_fill(earlier[:, None], float("-inf"))
    return scores


def _full_mask(call: AttentionCall) -> Tensor:
    """The mask as a view of `[sample, head, query, key]`; nothing is copied."""
    assert call.mask is not None
    mask = unfold_mask(call.mask.detach(), samples=call.samples, heads=call.heads)
    return mask.expand(call.samples, call.heads, call.queries, call.keys)


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Apply a boolean (True = may attend) or additive mask of the same shape."""
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, float("-inf"))
    return scores + mask.to(scores.dtype)


def softmax_or_zero(scores: Tensor) -> Tensor:
    """Return the softmax over the last dimension; zero where every score is −inf, as fused kernels do."""
    nothing_to_see = torch.isneginf(scores).all(-1, keepdim=True)
    return torch.softmax(scores, dim=-1).masked_fill(nothing_to_see, 0.0)


def _column(call: AttentionCall, scores: Tensor, cls_index: Tensor) -> tuple[Tensor, str]:
    """Return the weights that every query puts on CLS, `[sample, head, query]`, and how they were made."""
    if call.scores is not None:
        return _column_in_blocks(call, cls_index), ""
    if call.log_sum_exp is None:
        return _column_in_blocks(call, cls_index), ", column in blocks"
    weights = torch.exp(scores - call.log_sum_exp.to(call.dtype)).masked_fill(torch.isneginf(scores), 0.0)
    if call.dtype == torch.float64:
        return weights, ""
    blurred = _blurred_heads(call, weights, scores)
    if not bool(blurred.any()):
        return weights, ""
    chosen = _heads_as_samples(call, blurred)
    samples = torch.nonzero(blurred)[:, 0]
    weights[blurred] = _column_in_blocks(chosen, cls_index[samples])[:, 0]
    return weights, f", {int(blurred.sum())} of {blurred.numel()} heads in blocks"


def _blurred_heads(call: AttentionCall, weights: Tensor, scores: Tensor) -> Tensor:
    """Tell in which heads an error would show in `exp(score − log-sum-exp)`: `[sample, head]`, boolean.

    The two terms were rounded apart, by the kernel and here, each by about its size times 2⁻²⁴; a kernel may
    add an error of its own. In blocks both terms share one rounding, which cancels.
    """
    assert call.log_sum_exp is not None
    size = torch.maximum(scores.abs(), call.log_sum_exp.abs()).nan_to_num(0.0, 0.0, 0.0)
    error = weights * (size * 2.0**-24 + call.log_sum_exp_error)
    return (error > (_BLURRED_HALF if call.log_sum_exp_error else _BLURRED)).any(-1)


def _heads_as_samples(call: AttentionCall, chosen: Tensor) -> AttentionCall:
    """Return the call with only the chosen heads, `[sample, head]`, each as a sample of one head."""
    samples, heads = torch.nonzero(chosen, as_tuple=True)
    groups = heads // (call.heads // call.key.shape[1])
    return replace(
        call,
        query=call.query[samples, heads][:, None],
        key=call.key[samples, groups][:, None],
        value=call.value[samples, groups][:, None],
        mask=None if call.mask is None else _chosen_mask(call, samples, heads),
    )


def _chosen_mask(call: AttentionCall, samples: Tensor, heads: Tensor) -> Tensor:
    """Return the mask of the chosen heads, as small as it was given: `[chosen, 1, query or 1, key]`."""
    assert call.mask is not None
    mask = unfold_mask(call.mask.detach(), samples=call.samples, heads=call.heads)
    return mask[samples * (mask.shape[0] > 1), heads * (mask.shape[1] > 1)][:, None]


def _column_in_blocks(call: AttentionCall, cls_index: Tensor) -> Tensor:
    """Return the column `[sample, head, query]`, streamed in O(block · keys) memory."""
    columns = [at(softmax_or_zero(scores).transpose(2, 3), cls_index) for scores in score_blocks(call)]
    return torch.cat(columns, dim=-1)


def score_blocks(call: AttentionCall) -> Iterator[Tensor]:
    """Yield the scaled and masked scores of consecutive blocks of queries: `[sample, head, block, key]`."""
    row_bytes = call.samples * call.heads * call.keys * call.dtype.itemsize
    size = max(1, _BLOCK_BYTES // max(1, row_bytes))
    keys = per_query_head(call.key, call.heads).to(call.dtype).transpose(2, 3)
    for start in range(0, call.queries, size):
        block = slice(start, start + size)
        if call.scores is not None:
            yield call.scores[:, :, block].to(call.dtype)
            continue
        scores = (call.query[:, :, block].to(call.dtype) @ keys) * call.scale
        if call.mask is not None:
            scores = _masked(scores, _full_mask(call)[:, :, block])
        if call.is_causal:
            positions = torch.arange(start, start + scores.shape[2], device=scores.device)
            later = torch.arange(call.keys, device=scores.device) > positions[:, None]
            scores = scores.masked_fill(later, float("-inf"))
        yield scores


def _output_error(call: AttentionCall, row: Tensor, cls_index: Tensor) -> Tensor:
    """Return how far `row · value` is from what the operation gave at CLS: `[sample]`."""
    if call.has_dropout:
        return torch.full((call.samples,), float("nan"), dtype=call.dtype, device=row.device)
    value = call.value.to(call.dtype)
    weights = split(row, 1, value.shape[1])
    expected = (weights[..., None] * value[:, :, None]).sum(-2).flatten(1, 2)
    size = (weights * torch.linalg.vector_norm(value, dim=-1)[:, :, None]).sum(-1).flatten(1, 2)
    error = torch.linalg.vector_norm(at(call.output, cls_index).to(call.dtype) - expected, dim=-1)
    return torch.where(error == 0, 0.0, error / size).amax(-1)


def _checked_queries(call: AttentionCall, cls_index: Tensor) -> list[Tensor]:
    """Return the positions of the queries whose rows are computed whole, `[sample]` each."""
    positions = sorted({call.queries // 3, 2 * call.queries // 3})
    return [torch.full_like(cls_index, position) for position in positions]


def _column_error(column: Tensor, rows: Tensor, queries: Tensor) -> Tensor:
    """Return how far the column is from what whole rows put on CLS: `[sample]`.

    Args:
        column: `[sample, head, query]`.
        rows: `[sample, head, chosen, key]`, CLS first.
        queries: `[sample, chosen]`, their positions, CLS first.
    """
    heads, chosen = rows.shape[1:3]
    in_column = column.gather(2, queries[:, None].expand(-1, heads, -1))
    in_rows = rows.gather(3, queries[:, :1, None, None].expand(-1, heads, chosen, 1)).squeeze(3)
    return (in_column - in_rows).abs().flatten(1).amax(-1)


def _largest(scores: Tensor, weights: Tensor) -> Tensor:
    """Return the largest absolute score that carries weight, `[sample]`; NaN stays NaN.

    Scores that a model masks with a large negative number must not widen the tolerance.
    """
    masked = (weights == 0) | (scores < _MASK_LIKE)
    return scores.masked_fill(masked, 0.0).abs().flatten(1).amax(-1)
