"""The output projection is found by what it is fed, and only then."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight

SAMPLES, TOKENS, WIDTH, HEADS = 3, 5, 8, 2


class Block(nn.Module):
    """Attention whose merged heads go through `between` before the projection."""

    def __init__(self, between):
        super().__init__()
        self.project, self.out, self.between = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 7), between

    def forward(self, x):
        heads = [
            part.reshape(SAMPLES, TOKENS, HEADS, -1).transpose(1, 2) for part in self.project(x).chunk(3, -1)
        ]
        mixed = nn.functional.scaled_dot_product_attention(*heads)
        return self.out(self.between(mixed.transpose(1, 2).flatten(2)))


LAYOUTS = {
    "sample, token": nn.Identity(),
    "token, sample": lambda x: x.transpose(0, 1),
    "flat, sample first": lambda x: x.flatten(0, 1),
    "flat, token first": lambda x: x.transpose(0, 1).flatten(0, 1),
    "CLS alone": lambda x: x[:, 1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_projection_is_found_in_each_layout(layout):
    torch.manual_seed(0)
    block = Block(LAYOUTS[layout]).double()
    x = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
    record = clsight.capture(block, x, cls_index=1)
    value = block.project(x)[..., 2 * WIDTH :].detach().reshape(SAMPLES, TOKENS, HEADS, -1).numpy()
    out = block.out.weight.detach().numpy()
    for sample, head, token in np.ndindex(SAMPLES, HEADS, TOKENS):
        part = slice(head * 4, head * 4 + 4)
        expected = np.linalg.norm(out[:, part] @ value[sample, token, head])
        np.testing.assert_allclose(record.value_norm[sample, 0, head, token], expected, atol=1e-12)


def test_projection_behind_a_norm_is_reported_missing():
    record = clsight.capture(Block(nn.LayerNorm(WIDTH)), torch.randn(SAMPLES, TOKENS, WIDTH))
    assert "value_norm" not in record
    assert "a norm, a gate or dropout in an adapter may stand between" in record.attrs["absent"]["value_norm"]


class Adapter(nn.Module):
    """A linear map with a low-rank map added to it, as LoRA does."""

    def __init__(self, base, *, dropout=0.0):
        super().__init__()
        self.base, self.dropout = base, nn.Dropout(dropout)
        self.down, self.up = nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, 7, bias=False)

    def forward(self, x):
        return self.base(x) + 3.0 * self.up(self.down(self.dropout(x)))


class Normed(nn.Module):
    """A projection and a norm in one module."""

    def __init__(self, base):
        super().__init__()
        self.base, self.norm = base, nn.LayerNorm(7)

    def forward(self, x):
        return self.norm(self.base(x))


@pytest.mark.parametrize("around", [lambda m: m, nn.Sequential, Normed, lambda m: Normed(nn.Sequential(m))])
def test_adapter_around_the_projection_counts(around):
    torch.manual_seed(0)
    block = Block(nn.Identity()).double()
    plain = block.out
    adapter = Adapter(plain).double()
    block.out = around(adapter).double()
    x = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
    with_adapter = clsight.capture(block, x)
    merged = nn.Linear(WIDTH, 7).double()
    with torch.no_grad():
        merged.weight.copy_(plain.weight + 3.0 * adapter.up.weight @ adapter.down.weight)
        merged.bias.copy_(plain.bias)
    block.out = merged
    expected = clsight.capture(block, x)
    np.testing.assert_allclose(with_adapter["value_norm"], expected["value_norm"], atol=1e-12)


def test_norm_after_the_projection_does_not_count():
    torch.manual_seed(0)
    block = Block(nn.Identity()).double()
    x = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
    expected = clsight.capture(block, x)
    block.out = Normed(block.out).double()
    np.testing.assert_allclose(clsight.capture(block, x)["value_norm"], expected["value_norm"], atol=1e-12)


def test_adapter_with_active_dropout_is_reported_missing():
    block = Block(nn.Identity())
    block.out = Adapter(block.out, dropout=0.5)
    record = clsight.capture(block, torch.randn(SAMPLES, TOKENS, WIDTH), eval_mode=False)
    assert "value_norm" not in record
    assert "dropout in an adapter" in record.attrs["absent"]["value_norm"]
