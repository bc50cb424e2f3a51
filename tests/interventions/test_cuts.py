"""What attention gives when a path is cut, at the operation itself."""

import numpy as np
import pytest
import torch
from torch import nn

from attention_ways import HEADS, SAMPLES, TOKENS, WAYS, WIDTH, Attention, split_heads
from clsight.hooks.interception import AttentionMode, Watch
from clsight.hooks.positions import Position
from clsight.interventions import knockout
from clsight.interventions.cuts import Tokens, cut

CLS = 2


def tokens():
    position = Position(torch.full((SAMPLES,), CLS))
    real = torch.ones(SAMPLES, TOKENS, dtype=torch.bool)
    return Tokens(position, torch.arange(TOKENS).expand(SAMPLES, -1) == CLS, real)


def seen_calls(way):
    """Return the attention call of one forward, the dense weights and the values."""
    torch.manual_seed(0)
    module = Attention(WAYS[way]).double()
    x = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
    seen = []
    with (
        torch.no_grad(),
        AttentionMode(Watch(seen.append, lambda *_: None, lambda: True, lambda: (SAMPLES,))),
    ):
        module(x)
    value = split_heads(module.project(x).chunk(3, dim=-1)[2]).detach()
    return seen[0], module.dense.detach(), value


@pytest.mark.parametrize("way", ["F", "explicit", "explicit einsum", "folded heads"])
@pytest.mark.parametrize("path", ["column", "row", "self"])
def test_mask_is_the_same_as_renormalized_weights(way, path):
    call, weights, value = seen_calls(way)
    kept = weights.clone()
    others = torch.arange(TOKENS) != CLS
    if path == "column":
        kept[:, :, others, CLS] = 0
    elif path == "row":
        kept[:, :, CLS, others] = 0
    else:
        kept[:, :, CLS, CLS] = 0
    expected = (kept / kept.sum(-1, keepdim=True)) @ value
    found = call.in_canonical_layout(cut(call, tokens(), path, range(HEADS), None))
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-16 * float(value.abs().max()))


def test_other_heads_give_what_they_gave():
    call, _, _ = seen_calls("F")
    found = call.in_canonical_layout(cut(call, tokens(), "column", [1, 3], None))
    is_same = (found == call.output).all(-1).all(-1).all(0)
    assert is_same.tolist() == [True, False, True, False]


def test_cls_itself_gets_what_it_got_when_others_cannot_ask_it():
    call, _, _ = seen_calls("F")
    for instead in (None, torch.zeros(1, HEADS, 1, 1, dtype=torch.float64)):
        found = call.in_canonical_layout(cut(call, tokens(), "column", range(HEADS), instead))
        assert torch.equal(found[:, :, CLS], call.output[:, :, CLS])
        assert not torch.equal(found[:, :, 0], call.output[:, :, 0])


def test_the_output_of_a_cut_lies_in_memory_as_the_operations_own():
    class Views(Attention):
        def forward(self, x):
            query, key, value = (split_heads(part) for part in self.project(x).chunk(3, dim=-1))
            mixed = nn.functional.scaled_dot_product_attention(query, key, value)
            return self.out(mixed.transpose(1, 2).view(x.shape))  # works on the kernel's layout alone

    torch.manual_seed(0)
    x = torch.randn(SAMPLES, TOKENS, WIDTH)
    viewed = knockout(Views(None), x, progress=False)
    torch.manual_seed(0)
    copied = knockout(Attention(WAYS["F"]), torch.randn(SAMPLES, TOKENS, WIDTH), progress=False)
    np.testing.assert_array_equal(viewed.cls_distance, copied.cls_distance)


def test_a_token_of_another_sample_stands_for_each_in_order():
    real = torch.tensor([[1, 1, 1, 1, 0], [1, 0, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)
    is_cls = torch.arange(5).expand(3, -1) == torch.tensor([0, 2, 0])[:, None]
    donors = Tokens(Position(torch.tensor([0, 2, 0])), is_cls, real).donors
    assert donors.tolist() == [[0, 0, 3, 4, 4], [1, 1, 2, 1, 1], [0, 1, 2, 3, 4]]
