"""What does CLS attend to, and who attends to CLS, in one attention call: exact, in O(tokens) memory.

The row is the softmax of the CLS query against all keys. The column is `exp(score − log-sum-exp)` of every
query against the CLS key, with the log-sum-exp of the kernel that ran; without one it is streamed over blocks
of queries. Both are compared at once with what the operation itself gave.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clsight.hooks.operations import AttentionCall, split, unfold_mask
from clsight.hooks.positions import Position
from clsight.hooks.products import product
from clsight.hooks.scores import (
    cls_key_scores,
    may_be_masked,
    per_query_head,
    query_scores,
    score_blocks,
    softmax_or_zero,
)
from clsight.hooks.shelf import Shelf

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

    def on(self, shelf: Shelf) -> "ClsView":
        """Return the view with its tensors copied to a shelf."""
        kept: dict[str, Any] = {
            name: shelf.keep(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **kept)


def view_cls(call: AttentionCall, position: Position) -> ClsView:
    """Return what CLS attends to and who attends to CLS in one attention call.

    Args:
        call: The operation, in canonical layout.
        position: Where CLS stands among the keys.
    """
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        if call.is_class_attention:
            return _view_class_attention(call, position)
        return _view(call, position, lambda scores: _column(call, scores, position))


def glimpse_cls(call: AttentionCall, position: Position) -> tuple[ClsView, Tensor | None]:
    """Return what `view_cls` does without waiting for the device, and what tells whether it holds.

    Args:
        call: The operation, in canonical layout.
        position: Where CLS stands among the keys.

    Returns:
        The view, and a scalar on the device for `is_blurred`, by which `view_cls` may have to look again.
        None: the view holds.
    """
    if call.is_class_attention or call.log_sum_exp is None or call.log_sum_exp_error:
        return view_cls(call, position), None
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        view = _view(call, position, lambda scores: (_column_by_log_sum_exp(call, scores), ""))
        return view, _blur_bound(call, view.column[..., : call.queries])


def is_blurred(call: AttentionCall, bound: float) -> bool:
    """Tell whether an error may show in the column of some head, by a bound on it."""
    return call.dtype != torch.float64 and not bound <= _allowed(call)


def _view(
    call: AttentionCall, position: Position, make_column: Callable[[Tensor], tuple[Tensor, str]]
) -> ClsView:
    """Return the view, given what makes the column, and tells how, from the scores of every query."""
    chosen = position.with_checked(call.queries)
    row_scores = query_scores(call, chosen)
    rows = _softmax(call, row_scores)
    column_scores = cls_key_scores(call, position)
    column, how = make_column(column_scores)
    row = rows[:, :, 0]
    of_row, of_column = _largest(call, row_scores[:, :, 0], row), _largest(call, column_scores, column)
    extra = call.extra_keys
    return ClsView(
        row=row,
        column=torch.nn.functional.pad(column, (0, extra), value=float("nan")) if extra else column,
        query=position.at(call.query.detach()),
        key=per_query_head(position.at(call.key.detach()), call.heads),
        value=per_query_head(position.at(call.value.detach()), call.heads),
        output_error=_output_error(call, row, position),
        column_error=_column_error(call, column, rows, chosen, position),
        largest_score=torch.maximum(of_row, of_column),
        kernel=f"{call.kernel}{how}",
    )


def _view_class_attention(call: AttentionCall, position: Position) -> ClsView:
    """Return the view where CLS alone asks: a row, and of the column only what CLS puts on itself."""
    only = Position.first_of(position.index)
    scores = query_scores(call, position.index.new_zeros(1))[:, :, 0]
    row = softmax_or_zero(scores)
    itself = torch.zeros_like(row, dtype=torch.bool)
    itself[torch.arange(call.samples, device=row.device), :, position.index] = True
    return ClsView(
        row=row,
        column=row.masked_fill(~itself, float("nan")),
        query=only.at(call.query.detach()),
        key=per_query_head(position.at(call.key.detach()), call.heads),
        value=per_query_head(position.at(call.value.detach()), call.heads),
        output_error=_output_error(call, row, only),
        column_error=torch.zeros(call.samples, dtype=row.dtype, device=row.device),
        largest_score=_largest(call, scores, row),
        kernel=f"{call.kernel}, CLS is the only query",
    )


def _softmax(call: AttentionCall, scores: Tensor) -> Tensor:
    return softmax_or_zero(scores) if may_be_masked(call) else torch.softmax(scores, dim=-1)


def _column(call: AttentionCall, scores: Tensor, position: Position) -> tuple[Tensor, str]:
    """Return the weights that every query puts on CLS, `[sample, head, query]`, and how they were made."""
    if call.scores is not None:
        return _column_in_blocks(call, position), ""
    if call.log_sum_exp is None:
        return _column_in_blocks(call, position), ", column in blocks"
    weights = _column_by_log_sum_exp(call, scores)
    if _is_sharp(call, weights):
        return weights, ""
    blurred = _blurred_heads(call, weights, scores)
    if not bool(blurred.any()):
        return weights, ""
    chosen = _heads_as_samples(call, blurred)
    samples = torch.nonzero(blurred)[:, 0]
    weights[blurred] = _column_in_blocks(chosen, Position(position.index[samples]))[:, 0]
    return weights, f", {int(blurred.sum())} of {blurred.numel()} heads in blocks"


def _column_by_log_sum_exp(call: AttentionCall, scores: Tensor) -> Tensor:
    assert call.log_sum_exp is not None
    weights = torch.exp(scores - call.log_sum_exp.to(call.dtype))
    return weights.masked_fill_(torch.isneginf(scores), 0.0) if may_be_masked(call) else weights


def _is_sharp(call: AttentionCall, weights: Tensor) -> bool:
    """Tell by a bound that is quick to compute whether no head is blurred."""
    return not call.log_sum_exp_error and not is_blurred(call, float(_blur_bound(call, weights)))


def _blur_bound(call: AttentionCall, weights: Tensor) -> Tensor:
    """Return a scalar that no error of `exp(score − log-sum-exp)` by rounding exceeds.

    A score lies ln(1 / weight) below its log-sum-exp, and weight · ln(1 / weight) is at most 1 / e; so weight
    times the larger of the two is at most weight · |log-sum-exp| + 1 / e.
    """
    assert call.log_sum_exp is not None
    return (weights * call.log_sum_exp).abs_().amax().add_(0.37).mul_(2.0**-24)


def _allowed(call: AttentionCall) -> float:
    """Return the error in a column above which a head is computed in blocks, at many times the cost."""
    return _BLURRED_HALF if call.query.dtype in (torch.bfloat16, torch.float16) else _BLURRED


def _blurred_heads(call: AttentionCall, weights: Tensor, scores: Tensor) -> Tensor:
    """Tell in which heads an error would show in `exp(score − log-sum-exp)`: `[sample, head]`, boolean.

    The two terms were rounded apart, by the kernel and here, each by about its size times 2⁻²⁴; a kernel may
    add an error of its own. In blocks both terms share one rounding, which cancels.
    """
    assert call.log_sum_exp is not None
    size = torch.maximum(scores.abs(), call.log_sum_exp.abs()).nan_to_num(0.0, 0.0, 0.0)
    error = weights * (size * 2.0**-24 + call.log_sum_exp_error)
    return (error > _allowed(call)).any(-1)


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


def _column_in_blocks(call: AttentionCall, position: Position) -> Tensor:
    """Return the column `[sample, head, query]`, streamed in O(block · keys) memory."""
    columns = [position.at(_softmax(call, scores).transpose(2, 3)) for scores in score_blocks(call)]
    return torch.cat(columns, dim=-1)


def _output_error(call: AttentionCall, row: Tensor, position: Position) -> Tensor:
    """Return how far `row · value` is from what the operation gave at CLS: `[sample]`."""
    if call.has_dropout:
        return torch.full((call.samples,), float("nan"), dtype=call.dtype, device=row.device)
    value = call.value.to(call.dtype)
    weights = split(row, 1, value.shape[1])
    expected = product(weights, value).flatten(1, 2)
    size = (weights * torch.linalg.vector_norm(value, dim=-1)[:, :, None]).sum(-1).flatten(1, 2)
    error = torch.linalg.vector_norm(position.at(call.output).to(call.dtype) - expected, dim=-1)
    return torch.where(error == 0, 0.0, error / size).amax(-1)


def _column_error(
    call: AttentionCall, column: Tensor, rows: Tensor, chosen: Tensor, position: Position
) -> Tensor:
    """Return how far the column is from what whole rows, or the model's own weights, put on CLS: `[sample]`.

    Weights that a model sets to 0 for a whole query (padding) are left out.

    Args:
        call: The operation.
        column: `[sample, head, query]`.
        rows: `[sample, head, chosen, key]`, CLS first.
        chosen: `[chosen]` or `[sample, chosen]`, their positions.
        position: Where CLS stands.
    """
    in_rows = position.at(rows.transpose(2, 3))
    if chosen.dim() == 1:
        in_column = column.index_select(2, chosen)
    else:
        in_column = column.gather(2, chosen[:, None].expand(-1, column.shape[1], -1))
    error = (in_column - in_rows).abs().amax((1, 2))
    if call.weights is None or call.has_dropout:
        return error
    weights = call.weights.detach()
    own = position.at(weights.transpose(2, 3)).to(call.dtype)
    difference = ((column - own).abs() - _rounding_of_weights(call) * own).masked_fill(
        weights.amax(-1) == 0, 0.0
    )
    return torch.maximum(error, difference.amax((1, 2)))


def _rounding_of_weights(call: AttentionCall) -> float:
    """Return how far the model's own weights may be off by its rounding, relative to them.

    In half precision the softmax rounds its result; a softmax in float32 of float64 scores rounds those too.
    """
    coarsest = torch.finfo(call.coarsest_dtype).eps
    if coarsest <= torch.finfo(call.dtype).eps:
        return 0.0
    return coarsest * (64 if call.coarsest_dtype == torch.float32 else 2)


def _largest(call: AttentionCall, scores: Tensor, weights: Tensor) -> Tensor:
    """Return the largest absolute score that carries weight, `[sample]`; NaN stays NaN.

    Scores that a model masks with a large negative number must not widen the tolerance.
    """
    if may_be_masked(call):
        scores = scores.masked_fill((weights == 0) | (scores < _MASK_LIKE), 0.0)
    return scores.abs().amax((1, 2))
