"""Where queries and keys come from tells self-attention from cross attention of the same length."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import clsight
from clsight.errors import CaptureError

SAMPLES, TOKENS, WIDTH, HEADS = 2, 6, 12, 3


def heads_of(x):
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def fused(query, key, value):
    return functional.scaled_dot_product_attention(query, key, value)


def explicit(query, key, value):
    return torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, dim=-1) @ value


def cached(x):
    return torch.cat([x[:, :, :0], x], dim=2)


class Attention(nn.Module):
    """Attention of `x` to `memory`, with `change` applied to queries and keys after the projection."""

    def __init__(self, attend=fused, change=lambda x: x):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.attend, self.change = attend, change

    def forward(self, x, memory):
        query, key = self.change(heads_of(self.query(x))), self.change(heads_of(self.key(memory)))
        return self.attend(query, key, heads_of(self.value(memory))).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("attend", [fused, explicit])
@pytest.mark.parametrize(
    "change", [lambda x: x, lambda x: torch.cat([x[:, :, :0], x], dim=2)], ids=["view", "cache"]
)
def test_cross_attention_of_equal_length_is_refused(attend, change):
    with pytest.raises(CaptureError, match="queries and keys are projected from different tensors"):
        clsight.capture(Attention(attend, change), (torch.randn(2, 6, WIDTH), torch.randn(2, 6, WIDTH)))


@pytest.mark.parametrize("attend", [fused, explicit])
@pytest.mark.parametrize("memory", [lambda x: x, lambda x: x.view(x.shape)], ids=["same", "view"])
def test_self_attention_from_separate_projections_is_captured(attend, memory):
    x = torch.randn(2, 6, WIDTH)
    assert clsight.capture(Attention(attend), (x, memory(x))).sizes["layer"] == 1


def test_projections_that_were_changed_are_taken_for_self_attention():
    x = torch.randn(2, 6, WIDTH)
    assert clsight.capture(Attention(change=lambda q: q * 2), (x, x)).sizes["layer"] == 1


def test_attention_over_channels_is_refused():
    class Channels(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Linear(WIDTH, 3 * WIDTH)

        def forward(self, x):
            query, key, value = (heads_of(part).transpose(2, 3) for part in self.project(x).chunk(3, -1))
            return fused(functional.normalize(query), functional.normalize(key), value)

    with pytest.raises(CaptureError, match="its 4 keys are channels or groups, not the tokens of a sequence"):
        clsight.capture(Channels(), torch.randn(2, 6, WIDTH))


LAYOUTS = {
    "sample, token": lambda x: x,
    "flat": lambda x: x.flatten(0, 1),
    "grid of tokens": lambda x: x.unflatten(1, (2, 3)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_the_projection_does_not_matter(layout):
    class Laid(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Linear(WIDTH, 3 * WIDTH)

        def forward(self, x):
            projected = self.project(LAYOUTS[layout](x)).reshape(SAMPLES, TOKENS, 3 * WIDTH)
            return fused(*(heads_of(part) for part in projected.chunk(3, -1)))

    assert clsight.capture(Laid(), torch.randn(SAMPLES, TOKENS, WIDTH)).sizes["token"] == TOKENS
