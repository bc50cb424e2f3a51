"""Row and column of one attention call, in every way the operation can be called, against a dense loop."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import reference
from clsight.hooks import scores as scores_module
from clsight.hooks.cls_view import view_cls
from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.scores import score_blocks

SAMPLES, HEADS, TOKENS, WIDTH, VALUE_WIDTH = 2, 6, 13, 5, 4
CLS = torch.tensor([0, 3])


def dense_weights(call):
    """Weights [sample, head, query, key] by loops over every pair, float64."""
    weights = np.zeros((SAMPLES, HEADS, TOKENS, TOKENS))
    group = HEADS // call.key.shape[1]
    query, key = call.query.double().numpy(), call.key.double().numpy()
    full = None if call.mask is None else call.mask.expand(SAMPLES, HEADS, TOKENS, TOKENS)
    for b, h, i in np.ndindex(SAMPLES, HEADS, TOKENS):
        scores = np.array([query[b, h, i] @ key[b, h // group, j] * call.scale for j in range(TOKENS)])
        if full is not None and full.dtype == torch.bool:
            scores[~full[b, h, i].numpy()] = -math.inf
        elif full is not None:
            scores += full[b, h, i].double().numpy()
        if call.is_causal:
            scores[i + 1 :] = -math.inf
        weights[b, h, i] = reference.softmax(scores)
    return weights


def masks():
    generator = torch.Generator().manual_seed(5)
    some = torch.rand(SAMPLES, HEADS, TOKENS, TOKENS, generator=generator) > 0.3
    some |= torch.eye(TOKENS, dtype=torch.bool)
    some[:, :, 0, CLS] = True
    window = (torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)).abs() <= 2
    return {
        "none": None,
        "boolean, full": some,
        "boolean, keys only": some[:, :1, :1],
        "boolean, queries and keys": some[0, 0],
        "sliding window": window,
        "additive, per head": torch.randn(1, HEADS, TOKENS, TOKENS, generator=generator),
        "additive, -inf": torch.zeros(SAMPLES, 1, TOKENS, TOKENS).masked_fill(~some[:, :1], -math.inf),
    }


def real_call(mask, *, dtype=torch.float64, groups=HEADS, is_causal=False, scale=None):
    """An attention call that torch really ran."""
    torch.manual_seed(3)
    query = torch.randn(SAMPLES, HEADS, TOKENS, WIDTH, dtype=dtype)
    key = torch.randn(SAMPLES, groups, TOKENS, WIDTH, dtype=dtype)
    value = torch.randn(SAMPLES, groups, TOKENS, VALUE_WIDTH, dtype=dtype)
    mask = mask.to(dtype) if mask is not None and mask.dtype != torch.bool else mask
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=groups != HEADS
    )
    return AttentionCall(
        query=query,
        key=key,
        value=value,
        output=output,
        scale=WIDTH**-0.5 if scale is None else scale,
        mask=mask,
        is_causal=is_causal,
    )


def with_log_sum_exp(call):
    """The call as a kernel gives it that knows the log-sum-exp."""
    blocks = [torch.logsumexp(scores, dim=-1) for scores in score_blocks(call)]
    return replace(call, log_sum_exp=torch.cat(blocks, dim=-1).nan_to_num(neginf=0.0))


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("groups", [HEADS, 2, 1])
@pytest.mark.parametrize("known", [True, False], ids=["log-sum-exp", "blocks"])
def test_row_and_column_equal_dense_attention(mask, groups, known):
    call = real_call(masks()[mask], groups=groups)
    view = view_cls(with_log_sum_exp(call) if known else call, Position(CLS))
    dense = dense_weights(call)
    for sample, position in enumerate(CLS):
        np.testing.assert_allclose(view.row[sample], dense[sample, :, position], atol=1e-12)
        np.testing.assert_allclose(view.column[sample], dense[sample, :, :, position], atol=1e-12)
    assert view.output_error.max() < 1e-12
    assert view.column_error.max() < 1e-12


@pytest.mark.parametrize("known", [True, False], ids=["log-sum-exp", "blocks"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_causal_call_equals_dense_attention(known, scale):
    call = real_call(None, is_causal=True, scale=scale)
    view = view_cls(with_log_sum_exp(call) if known else call, Position(CLS))
    dense = dense_weights(call)
    for sample, position in enumerate(CLS):
        np.testing.assert_allclose(view.row[sample], dense[sample, :, position], atol=1e-12)
        np.testing.assert_allclose(view.column[sample], dense[sample, :, :, position], atol=1e-12)


def test_query_that_may_see_nothing_has_zero_weights():
    mask = torch.ones(SAMPLES, 1, TOKENS, TOKENS, dtype=torch.bool)
    mask[0, :, 0] = False
    call = real_call(mask)
    view = view_cls(call, Position(CLS))
    assert (view.row[0] == 0).all()
    assert (view.column[0, :, 0] == 0).all()
    assert view.output_error[0] == 0
    np.testing.assert_allclose(view.row[1].sum(-1), 1.0, atol=1e-12)


def test_blocks_cover_every_query_once(monkeypatch):
    call = real_call(None)
    whole = torch.cat(list(score_blocks(call)), dim=2)
    row_bytes = SAMPLES * HEADS * TOKENS * 8
    monkeypatch.setattr(scores_module, "_BLOCK_BYTES", row_bytes * 4)
    blocks = list(score_blocks(call))
    assert [block.shape[2] for block in blocks] == [4, 4, 4, 1]
    torch.testing.assert_close(torch.cat(blocks, dim=2), whole)


@pytest.mark.parametrize("mask", masks())
def test_head_whose_rounding_would_show_is_streamed_and_no_other(mask):
    call = real_call(masks()[mask], dtype=torch.float32)
    query = call.query.clone()
    query[1, 2, 3] = call.key[1, 2, 3] * 40  # in one head of one sample, CLS sees itself alone
    output = torch.nn.functional.scaled_dot_product_attention(
        query, call.key, call.value, attn_mask=call.mask
    )
    saturated = with_log_sum_exp(replace(call, query=query, output=output))
    view = view_cls(saturated, Position(CLS))
    assert view.kernel == f", 1 of {SAMPLES * HEADS} heads in blocks"
    dense = dense_weights(saturated)
    for sample, position in enumerate(CLS):
        np.testing.assert_allclose(view.column[sample], dense[sample, :, :, position], atol=5e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    call = real_call(None, dtype=dtype)
    view = view_cls(call, Position(CLS))
    assert view.row.dtype == view.column.dtype == torch.float32
    dense = dense_weights(call)  # of the half-precision queries and keys, which are exact in float64
    for sample, position in enumerate(CLS):
        np.testing.assert_allclose(view.row[sample], dense[sample, :, position], atol=1e-6)
        np.testing.assert_allclose(view.column[sample], dense[sample, :, :, position], atol=1e-6)


def test_error_of_the_kernel_does_not_reach_the_column():
    call = with_log_sum_exp(real_call(None, dtype=torch.bfloat16))
    blurred = replace(call, log_sum_exp=call.log_sum_exp + 6e-5, log_sum_exp_error=6e-5)
    assert column_error(blurred) <= 5e-6
    assert column_error(replace(blurred, log_sum_exp_error=0.0)) > 1e-5


def column_error(call):
    column, dense = view_cls(call, Position(CLS)).column.numpy(), dense_weights(call)
    return max(np.abs(column[sample] - dense[sample, :, :, cls]).max() for sample, cls in enumerate(CLS))


def test_explicit_scores_are_used_as_they_are():
    call = real_call(None)
    scores = torch.cat(list(score_blocks(call)), dim=2) + torch.randn(1, HEADS, TOKENS, TOKENS).double()
    weights = torch.softmax(scores, dim=-1)
    view = view_cls(replace(call, scores=scores, output=weights @ call.value), Position(CLS))
    torch.testing.assert_close(view.row[1], weights[1, :, 3])
    torch.testing.assert_close(view.column[1], weights[1, :, :, 3])
    assert view.output_error.max() < 1e-12
