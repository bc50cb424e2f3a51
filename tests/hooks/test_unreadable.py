"""Attention written out in a way that gives no CLS row is noticed and named."""

import pytest
import torch
from torch import nn

import clsight
from clsight.errors import CaptureError
from clsight.hooks.tags import Tags, matrix_product
from clsight.hooks.unreadable import MIXED_HEADS, NO_PRODUCT, Unreadable

SAMPLES, HEADS, TOKENS, WIDTH = 2, 3, 7, 5


def test_memory_of_a_tensor_that_is_gone_is_forgotten():
    tags, unreadable = Tags(), Unreadable()
    left, right = torch.randn(SAMPLES, TOKENS, WIDTH), torch.randn(SAMPLES, WIDTH, TOKENS)
    scores = left @ right
    tags.set(scores, matrix_product(left, right))
    mixed = torch.randn(SAMPLES, TOKENS, TOKENS)
    unreadable.on_map(tags, (scores.permute(1, 2, 0),), mixed)
    weights = mixed.softmax(-1)
    unreadable.on_softmax(mixed.transpose(1, 2), weights)
    assert unreadable.why(weights[:], left) == MIXED_HEADS
    assert unreadable.why(torch.randn(SAMPLES, TOKENS, TOKENS), left) is None
    del mixed, weights
    assert unreadable.why(torch.randn(SAMPLES, TOKENS, TOKENS), left) is None


def test_map_of_a_tensor_that_is_no_score_is_not_noticed():
    unreadable, x = Unreadable(), torch.randn(SAMPLES, TOKENS, WIDTH)
    unreadable.on_map(Tags(), (x,), x.clone())
    assert not unreadable.entries


def test_probabilities_of_classes_are_no_attention():
    unreadable, x = Unreadable(), torch.randn(SAMPLES, WIDTH)
    unreadable.on_softmax(x, x.softmax(-1))
    assert not unreadable.entries


class Additive(nn.Module):
    """Bahdanau's attention: scores are a vector times tanh of sums."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.score = (nn.Linear(WIDTH, out) for out in (WIDTH, WIDTH, 1))

    def forward(self, x):
        scores = self.score(torch.tanh(self.query(x)[:, :, None] + self.key(x)[:, None])).squeeze(-1)
        return scores.softmax(-1) @ x


def test_scores_that_are_no_product_are_named():
    with pytest.raises(CaptureError) as caught:
        clsight.capture(nn.Sequential(Additive()), torch.randn(SAMPLES, TOKENS, WIDTH))
    assert f"`0` left out: {NO_PRODUCT}" in str(caught.value)


def test_gate_of_a_mixture_of_experts_does_not_hide_the_attention_beside_it():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.gate, self.experts = nn.Linear(8, 4), nn.Parameter(torch.randn(4, 8, 8) / 8)

        def forward(self, x):
            x = x + self.attention(x, x, x, need_weights=False)[0]
            each = torch.einsum("btc,ecd->bted", x, self.experts)
            return x + (self.gate(x).softmax(-1)[:, :, None] @ each).squeeze(2)

    record = clsight.capture(nn.Sequential(Block(), Block()), torch.randn(SAMPLES, TOKENS, 8))
    assert list(record.layer_name.values) == ["0", "1"]
