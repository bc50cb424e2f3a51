"""Small calls looked at together give what each gives alone."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

import clsight
from clsight.hooks import small_calls
from clsight.hooks.assembly import Layer
from clsight.hooks.cls_view import ClsView, view_cls
from clsight.hooks.kernels import KernelReader
from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.small_calls import SmallCalls

SAMPLES, HEADS, GROUPS, TOKENS, WIDTH, VALUE_WIDTH = 3, 4, 2, 11, 8, 8


def attention_call(
    seed, *, mask=None, is_causal=False, dtype=torch.float32, query_scale=1.0, samples=SAMPLES
):
    generator = torch.Generator().manual_seed(seed)

    def draw(heads, width):
        return torch.randn(samples, heads, TOKENS, width, generator=generator).to(dtype)

    query, key, value = query_scale * draw(HEADS, WIDTH), draw(HEADS, WIDTH), draw(HEADS, VALUE_WIDTH)
    with KernelReader() as kernel:
        output = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=is_causal
        )
    return AttentionCall(
        query=query,
        key=key,
        value=value,
        output=output,
        scale=WIDTH**-0.5,
        mask=mask,
        is_causal=is_causal,
        log_sum_exp=kernel.log_sum_exp,
        log_sum_exp_error=kernel.log_sum_exp_error,
        kernel=kernel.name,
    )


def padding(seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(SAMPLES, 1, 1, TOKENS, generator=generator) > 0.3
    mask[..., 0] = True
    return mask


def looked_at_together(calls, position):
    small, layers = SmallCalls(), []
    for place, call in enumerate(calls):
        layers.append(Layer.of(call, ("", f"layers.{place}")))
        assert small.take(layers[-1], call, position)
        assert small.is_waiting(layers[-1])
    small.look()
    assert not any(small.is_waiting(layer) for layer in layers)
    return [layer.view for layer in layers]


def check_like_alone(views, calls, position):
    for view, call in zip(views, calls, strict=True):
        alone = view_cls(call, position)
        for field in fields(ClsView):
            mine, other = getattr(view, field.name), getattr(alone, field.name)
            if isinstance(other, Tensor):
                torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-6, equal_nan=True)
            else:
                assert mine == other


SAME = padding(1)
CALLS = {
    "plain": lambda: [attention_call(seed) for seed in range(3)],
    "causal": lambda: [attention_call(seed, is_causal=True) for seed in range(3)],
    "one mask": lambda: [attention_call(seed, mask=SAME) for seed in range(3)],
    "equal masks": lambda: [attention_call(seed, mask=SAME.clone()) for seed in range(3)],
    "unequal masks": lambda: [attention_call(seed, mask=padding(seed)) for seed in range(3)],
    "two kinds in turn": lambda: [
        attention_call(seed, is_causal=bool(seed % 2), mask=None) for seed in range(6)
    ],
    "more than fit": lambda: [attention_call(seed) for seed in range(29)],
    "half precision": lambda: [attention_call(seed, dtype=torch.bfloat16) for seed in range(3)],
    "one saturated": lambda: [
        attention_call(seed, query_scale=60.0 if seed == 1 else 1.0) for seed in range(3)
    ],
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("index", [[2, 2, 2], [0, 3, 10]])
def test_calls_looked_at_together_are_seen_as_alone(name, index):
    calls, position = CALLS[name](), Position(torch.tensor(index))
    check_like_alone(looked_at_together(calls, position), calls, position)


def test_a_call_is_looked_at_as_it_was_when_it_ran():
    calls, position = [attention_call(seed) for seed in range(2)], Position(torch.zeros(3, dtype=torch.int64))
    small, layers = SmallCalls(), [Layer.of(call, ("",)) for call in calls]
    expected = view_cls(calls[0], position)
    small.take(layers[0], calls[0], position)
    for tensor in (calls[0].query, calls[0].key, calls[0].value, calls[0].output):
        tensor.zero_()  # as a model does that lets its layers share buffers
    small.take(layers[1], calls[1], position)
    small.look()
    torch.testing.assert_close(layers[0].view.row, expected.row)
    torch.testing.assert_close(layers[0].view.output_error, expected.output_error, atol=1e-6, rtol=0)


def test_calls_whose_mask_was_written_to_between_them_are_kept_apart():
    mask, position = padding(1), Position(torch.zeros(3, dtype=torch.int64))
    small, first = SmallCalls(), attention_call(0, mask=mask)
    expected = view_cls(first, position)
    layers = [Layer.of(first, ("",))]
    small.take(layers[0], first, position)
    mask[..., 1:4] = ~mask[..., 1:4]  # a buffer that the model's layers share
    second = attention_call(1, mask=mask)
    layers.append(Layer.of(second, ("",)))
    small.take(layers[1], second, position)
    small.look()
    torch.testing.assert_close(layers[0].view.row, expected.row)
    torch.testing.assert_close(layers[1].view.row, view_cls(second, position).row)


@pytest.mark.parametrize("change", ["scores", "class attention", "large"])
def test_other_calls_are_left_to_be_looked_at_alone(change, monkeypatch):
    call = attention_call(0)
    if change == "scores":
        call = replace(call, scores=call.query @ call.key.mT)
    elif change == "class attention":
        call = replace(call, query=call.query[:, :, :1], output=call.output[:, :, :1])
    else:
        monkeypatch.setattr(small_calls, "_SMALL", 4 * call.query.nbytes - 1)
    position = Position(torch.zeros(3, dtype=torch.int64))
    assert not SmallCalls().take(Layer.of(call, ("",)), call, position)


@pytest.mark.parametrize("keep", ["vectors", "rollout", "gradient"])
@pytest.mark.parametrize("padded", [False, True])
def test_record_of_a_model_is_the_same_looked_at_together_or_alone(keep, padded, monkeypatch):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(24, 3, 40, batch_first=True, dtype=torch.float64)
    model = nn.Sequential()
    model.encoder = nn.TransformerEncoder(layer, 5, enable_nested_tensor=False)
    for parameter in model.parameters():  # torch makes all layers alike
        nn.init.normal_(parameter, std=0.3)
    inputs = {"src": torch.randn(4, 9, 24, dtype=torch.float64)}
    if padded:
        mask = torch.zeros(4, 9, dtype=torch.bool)
        mask[1, 5:], mask[3, 7:] = True, True
        inputs["src_key_padding_mask"] = mask

    def target(output):
        return output[:, 0].sum(-1)

    together = clsight.capture(model.encoder, inputs, keep=keep, target=target)
    monkeypatch.setattr(small_calls, "_SMALL", 0)
    alone = clsight.capture(model.encoder, inputs, keep=keep, target=target)
    assert together.attrs == alone.attrs
    assert set(together) == set(alone)
    for name in alone:
        difference = abs(together[name].astype(float) - alone[name].astype(float)).max()
        assert float(difference) < 1e-12, name
