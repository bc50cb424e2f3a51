"""What a GPU leaves open until the next layer, on the CPU: each call is taken for one that is far away."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.hooks import small_calls
from clsight.hooks.operations import AttentionCall
from encoder_zoo import ZOO

NAMES = [
    "TransformerEncoder, post-norm, padding",
    "BERT, sdpa",
    "BERT, eager",
    "ViT, sdpa",
    "CLIP text (end of text as CLS), sdpa",
    "vit",
    "cait (row only)",
    "DeBERTa-v2, eager",
]


@pytest.fixture
def far(monkeypatch):
    """Take every call for a large one on a device that has to be waited for."""
    monkeypatch.setattr(AttentionCall, "is_far", property(lambda call: True))
    monkeypatch.setattr(small_calls, "_ON_DEVICE", 0)


def sharp(module, by):
    """Return a copy whose scores are larger, so that a log-sum-exp does not do for the column."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "query.weight" in name:
                parameter.mul_(by)
    return module


def assert_alike(one, other):
    assert one.attrs["absent"] == other.attrs["absent"]
    assert one.attrs["kernel"] == other.attrs["kernel"]
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        np.testing.assert_allclose(one[name].values, other[name].values, rtol=2e-5, atol=2e-7, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_record_is_that_of_layers_read_at_once(name, request):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    at_once = clsight.capture(module, inputs, cls_index=encoder.cls_index)
    request.getfixturevalue("far")
    assert_alike(clsight.capture(module, inputs, cls_index=encoder.cls_index), at_once)


@pytest.mark.parametrize("by", [60, 400])
def test_column_that_needs_blocks_gets_them(by, request):
    encoder = ZOO["BERT, sdpa"]
    module, inputs = sharp(encoder.build(), by), encoder.inputs()
    at_once = clsight.capture(module, inputs)
    assert "in blocks" in " ".join(at_once.attrs["kernel"])
    request.getfixturevalue("far")
    assert_alike(clsight.capture(module, inputs), at_once)


def test_inference_mode_is_read_at_once(request):
    encoder = ZOO["BERT, sdpa"]
    module, inputs = encoder.build(), encoder.inputs()
    with torch.inference_mode():
        at_once = clsight.capture(module, inputs)
        request.getfixturevalue("far")
        assert_alike(clsight.capture(module, inputs), at_once)


class SharedBuffer(nn.Module):
    """Two layers of attention that write their values into one buffer."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(12, 12) for _ in range(2)])
        self.out = nn.ModuleList([nn.Linear(12, 12) for _ in range(2)])
        self.register_buffer("values", torch.zeros(2, 3, 5, 4))

    def forward(self, x):
        for values, out in zip(self.maps, self.out, strict=True):
            heads = x.view(2, 5, 3, 4).transpose(1, 2)
            self.values.copy_(values(x).view(2, 5, 3, 4).transpose(1, 2))
            attended = nn.functional.scaled_dot_product_attention(heads, heads, self.values)
            x = x + out(attended.transpose(1, 2).flatten(2))
        return x


def test_values_that_were_overwritten_meanwhile_have_no_norm_and_the_map_is_true(request):
    torch.manual_seed(0)
    module, x = SharedBuffer().eval(), torch.randn(2, 5, 12)
    at_once = clsight.capture(module, x)
    request.getfixturevalue("far")
    late = clsight.capture(module, x)
    for name in ("attends_to", "attended_by", "value"):
        np.testing.assert_allclose(late[name].values, at_once[name].values, atol=2e-7)
    assert "value_norm" in at_once
    assert "value_norm" not in late
    assert late.attrs["absent"] == {
        "logits": at_once.attrs["absent"]["logits"],
        "value_norm": "the model overwrites values before the next layer, such as in one buffer",
    }


class Flip(nn.Module):
    def forward(self, x):
        return x.flip(1)


@pytest.mark.usefixtures("far")
def test_cls_that_moves_between_layers_is_refused():
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(12, 3, 24, batch_first=True) for _ in range(3)]
    module = nn.Sequential(*layers[:2], Flip(), layers[2]).eval()
    with pytest.raises(clsight.CaptureError) as caught:
        clsight.capture(module, torch.randn(2, 6, 12))
    assert str(caught.value).startswith(
        "`3.self_attn`: expected CLS at position 0, as before, but got what left `1` as CLS at position 5."
    )
