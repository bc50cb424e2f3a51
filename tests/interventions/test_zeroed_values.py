"""`clsight.interventions.value_zeroing` against one whole pass of each layer per token, written by hand."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import reference_interventions as by_hand
from attention_ways import WAYS, Attention
from attention_ways import WIDTH as WIDE
from clsight.interventions import value_zeroing
from clsight.interventions.variants import LayerAgain
from hand_run_models import MODELS, SAMPLES, TOKENS, WIDTH, class_attention, torch_classifier
from module_state import state


@pytest.mark.parametrize("name", MODELS)
def test_changes_are_those_of_one_pass_per_token(name):
    model = MODELS[name]()
    expected = by_hand.value_zeroing(model.case)
    result = value_zeroing(model.module, model.inputs, cls_index=model.case.cls, progress=False)
    assert result.attrs["one_by_one"] == [], "all by the short way"
    np.testing.assert_allclose(result.value_zeroing, expected, rtol=0, atol=1e-13)
    share = expected / np.nansum(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(result.value_zeroing_share, share, rtol=0, atol=1e-10)
    assert float(result.value_zeroing.max()) > 1e-4


def test_padding_has_no_number_and_shares_sum_to_one():
    model = torch_classifier(padded=True)
    result = value_zeroing(model.module, model.inputs, progress=False)
    padding = model.case.padding[:, None].repeat(2, axis=1)
    for name in ("value_zeroing", "value_zeroing_share"):
        np.testing.assert_array_equal(np.isnan(result[name]), padding)
    np.testing.assert_allclose(result.value_zeroing_share.sum("token"), 1.0, rtol=1e-12)


def test_float32_keeps_changes_far_below_its_rounding():
    """Where the residual stream is large against attention, 1 − cosine in float32 is noise (trap 3)."""
    model = torch_classifier(norm_first=True)
    with torch.no_grad():
        for layer in model.module.encoder.layers:
            layer.self_attn.out_proj.weight.mul_(1e-3)
    model.case.blocks = by_hand.torch_blocks(model.module.encoder)
    exact = value_zeroing(model.module, model.inputs, progress=False)
    assert float(exact.value_zeroing.max()) < 1e-5
    rounded = value_zeroing(model.module.float(), model.inputs["src"].float(), progress=False)
    np.testing.assert_allclose(rounded.value_zeroing_share, exact.value_zeroing_share, rtol=0, atol=2e-4)


@pytest.mark.parametrize("way", WAYS)
def test_changes_are_the_same_however_attention_is_called(way):
    results = []
    for attend in (WAYS[way], WAYS["F"]):
        torch.manual_seed(0)
        module = nn.Sequential(Attention(attend), Attention(attend)).double()
        inputs = torch.randn(SAMPLES, TOKENS, WIDE, dtype=torch.float64)
        results.append(value_zeroing(module, inputs, cls_index=3, progress=False))
    np.testing.assert_allclose(results[0].value_zeroing, results[1].value_zeroing, rtol=1e-8, atol=1e-13)
    assert float(results[1].value_zeroing.max()) > 1e-3


class Zeroing(nn.Module):
    """Attention whose value of one token a test can take away, and what follows it in a block."""

    def __init__(self, after, *, in_place=False):
        super().__init__()
        self.attention, self.after = Attention(self.attend), after
        self.token, self.in_place = None, in_place

    def attend(self, query, key, value):
        if self.token is not None:
            value = value.clone()
            value[:, :, self.token] = 0
        return nn.functional.scaled_dot_product_attention(query, key, value)

    def forward(self, x):
        if self.in_place:
            x += self.attention(x)
        else:
            x = x + self.attention(x)
        return self.after(x)


class AcrossTokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Conv1d(WIDE, WIDE, kernel_size=3, padding=1)

    def forward(self, x):
        return self.map(x.mT).mT


def one_by_one(blocks, x, cls):
    """1 − cosine of CLS after each block without the value of each token, by running the blocks."""
    result = np.zeros((len(x), len(blocks), x.shape[1]))
    with torch.no_grad():
        for place, block in enumerate(blocks):
            before = block(x.clone())
            for token in range(x.shape[1]):
                block.token = token
                after = block(x.clone())
                cosine = torch.cosine_similarity(before[:, cls], after[:, cls], dim=-1)
                result[:, place, token] = 1 - cosine.numpy()
            block.token = None
            x = before
    return result


@pytest.mark.parametrize(
    ("after", "in_place", "is_slow"),
    [
        (nn.ReLU, False, False),
        (nn.ReLU, True, False),
        (AcrossTokens, False, True),
        (AcrossTokens, True, True),
    ],
)
def test_blocks_that_mix_positions_elsewhere_are_run_once_per_token(after, in_place, is_slow):
    torch.manual_seed(0)
    blocks = nn.Sequential(Zeroing(after(), in_place=in_place), Zeroing(after(), in_place=in_place)).double()
    x = torch.randn(SAMPLES, TOKENS, WIDE, dtype=torch.float64)
    result = value_zeroing(blocks, x, cls_index=2, progress=False)
    assert result.attrs["one_by_one"] == (["0", "1"] if is_slow else [])
    np.testing.assert_allclose(result.value_zeroing, one_by_one(blocks, x, cls=2), rtol=0, atol=1e-13)
    assert float(result.value_zeroing.min("token").max()) > 1e-6


def test_a_block_that_runs_several_times_is_a_layer_each_time():
    class Block(Attention):
        token = None
        attend = Zeroing.attend

        def __init__(self):
            super().__init__(None)
            del self.attend

        def forward(self, x):
            return x + super().forward(x)

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()

        def forward(self, x):
            return self.block(self.block(self.block(x)))

    torch.manual_seed(0)
    module = Shared().double()
    x = torch.randn(SAMPLES, TOKENS, WIDE, dtype=torch.float64)
    result = value_zeroing(module, x, layers=["block#0", "block#2"], progress=False)
    expected = one_by_one([module.block] * 3, x, cls=0)[:, [0, 2]]
    assert result.layer_name.values.tolist() == ["block#0", "block#2"]
    np.testing.assert_allclose(result.value_zeroing, expected, rtol=0, atol=1e-13)


def test_tokens_may_come_before_samples():
    model = torch_classifier(padded=True)
    expected = value_zeroing(model.module.encoder, model.inputs, progress=False)
    for layer in model.module.encoder.layers:
        layer.self_attn.batch_first = False
    inputs = {**model.inputs, "src": model.inputs["src"].transpose(0, 1)}
    result = value_zeroing(model.module.encoder, inputs, progress=False)
    assert result.attrs["one_by_one"] == []
    np.testing.assert_allclose(result.value_zeroing, expected.value_zeroing, rtol=0, atol=1e-14)


def test_keys_that_are_no_tokens_have_values_too(monkeypatch):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, 3, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    nn.init.normal_(attention.bias_v)
    tokens = torch.randn(SAMPLES, TOKENS, WIDTH, dtype=torch.float64)
    inputs = dict.fromkeys(("query", "key", "value"), tokens)
    short = value_zeroing(attention.double(), inputs, progress=False)
    monkeypatch.setattr(LayerAgain, "distances", lambda *_: None)
    long = value_zeroing(attention, inputs, progress=False)
    assert (short.attrs["one_by_one"], len(long.attrs["one_by_one"])) == ([], 1)
    assert short.sizes["token"] == TOKENS + 2
    np.testing.assert_allclose(short.value_zeroing, long.value_zeroing, rtol=0, atol=1e-14)
    assert float(short.value_zeroing[..., -2].min()) > 1e-6, "the learned value is used"
    assert float(short.value_zeroing[..., -1].max()) == 0.0, "the zero key has the value zero"


def test_nothing_moves_cls_where_all_values_are_zero():
    model = torch_classifier()
    attention = model.module.encoder.layers[1].self_attn
    with torch.no_grad():
        attention.in_proj_weight[2 * WIDTH :] = 0
        attention.in_proj_bias[2 * WIDTH :] = 0
    result = value_zeroing(model.module, model.inputs, progress=False)
    assert float(result.value_zeroing.sel(layer=1).max()) == 0.0
    assert np.isnan(result.value_zeroing_share.sel(layer=1)).all()
    assert result.attrs["notes"] == [
        f"No token changes CLS in {SAMPLES} of {2 * SAMPLES} pairs of sample and layer: their shares are NaN"
    ]


def test_result_is_labeled():
    model = torch_classifier(padded=True)
    result = value_zeroing(model.module, model.inputs, layers=-1, progress=False)
    assert result.value_zeroing.dims == ("sample", "layer", "token")
    assert result.layer.values.tolist() == [1]
    assert result.token_kind[2].values.tolist() == ["cls", "step", "step", "step", "pad", "pad", "pad"]
    assert result.attrs["intervention"] == "value_zeroing"
    assert result.attrs["absent"]["value_zeroing_std"].startswith("the model draws nothing")


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = torch_classifier(padded=True)
    model.module.train(training)
    before = state(model.module)
    value_zeroing(model.module, model.inputs, progress=False)
    assert state(model.module) == before


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_the_model_is_left_as_it_was_after_an_exception(fails_at):
    model = torch_classifier().module.train()
    calls = []

    def fail(*_):
        calls.append(None)
        if len(calls) == fails_at:
            raise ValueError("out of order")

    model.encoder.layers[1].linear1.register_forward_pre_hook(fail)
    before = state(model)
    with pytest.raises((clsight.CaptureError, ValueError), match="out of order"):
        value_zeroing(model, torch_classifier().inputs, progress=False)
    assert state(model) == before


def test_class_attention_is_refused():
    with pytest.raises(clsight.CaptureError) as caught:
        value_zeroing(class_attention(), torch.randn(SAMPLES, TOKENS, WIDTH).double(), progress=False)
    assert str(caught.value) == (
        "`ClassAttention`: expected layers in which every token asks, but got class attention, in which CLS "
        "alone asks: its layer gives CLS no position beside others. Use knockout with path='row', or the "
        "contributions of capture(keep='contributions')."
    )


def test_half_precision_is_refused():
    model = torch_classifier()
    with pytest.raises(clsight.CaptureError) as caught:
        value_zeroing(model.module.bfloat16(), model.inputs["src"].bfloat16(), progress=False)
    assert str(caught.value) == (
        "`Classifier`: expected attention in float32 or float64, but got bfloat16, whose rounding is larger "
        "than most of the changes that are measured. Convert the module with .float(), or leave autocast off."
    )


class Flat(nn.Module):
    """Hands its states on as [sample · token, channel]."""

    def __init__(self):
        super().__init__()
        self.attention = Attention(WAYS["F"])
        self.inner = self.attention.forward
        self.attention.forward = lambda x: self.inner(x.unflatten(0, (SAMPLES, TOKENS))).flatten(0, 1)

    def forward(self, x):
        return self.attention(x.flatten(0, 1))


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention(WAYS["F"])

    def forward(self, x):
        return self.attention(x) + torch.randn(1)


@pytest.mark.parametrize(
    ("module", "got"),
    [(Flat, "no sequence of states"), (lambda: nn.Sequential(Noisy(), Noisy()), "another result")],
)
def test_a_layer_that_cannot_be_run_again_alone_is_refused(module, got):
    made = module()
    with pytest.raises(clsight.CaptureError) as caught:
        value_zeroing(made, torch.randn(SAMPLES, TOKENS, WIDE), layers=-1, progress=False)
    assert str(caught.value) == (
        f"`{'attention' if got.startswith('no') else '1'}`: expected a submodule that gives one sequence, "
        f"and the same when it is run again alone, but got {got}. Leave this layer out with layers=."
    )


def test_an_unknown_layer_is_one_sentence():
    model = torch_classifier()
    with pytest.raises(clsight.CaptureError, match="`layers`: expected indices, 0 to 1, or names of layers"):
        value_zeroing(model.module, model.inputs, layers="2", progress=False)
