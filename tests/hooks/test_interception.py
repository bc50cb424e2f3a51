"""Which attention operations the mode sees, in which threads, and that the model does not notice."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import clsight
from attention_ways import HEADS, SAMPLES, TOKENS, WAYS, WIDTH, Attention
from clsight.hooks.interception import AttentionMode, Watch


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("grad", [True, False])
def test_attention_is_seen_however_it_is_called(way, grad):
    torch.manual_seed(0)
    module = nn.Sequential(Attention(WAYS[way]), Attention(WAYS[way]))
    x = torch.randn(SAMPLES, TOKENS, WIDTH)
    with torch.set_grad_enabled(grad), clsight.Recorder(module, cls_index=1) as recorder:
        output = module(x)
    record = recorder.record
    assert list(record.layer_name.values) == ["0", "1"]
    for layer, part in enumerate(module):
        dense = part.dense.detach().numpy()
        np.testing.assert_allclose(record.attends_to[:, layer], dense[:, :, 1], atol=1e-6)
        np.testing.assert_allclose(record.attended_by[:, layer], dense[:, :, :, 1], atol=1e-6)
    assert float(record.attention_error.max()) < 1e-6
    assert "value_norm" in record
    assert torch.equal(output, module(x)), "the output is the model's own, bit for bit"
    assert output.requires_grad == grad


@pytest.mark.parametrize("way", [*WAYS, "into a buffer"])
def test_what_a_listener_returns_is_what_the_model_goes_on_with(way):
    def into_a_buffer(query, key, value):
        weights = torch.softmax(query @ key.mT, dim=-1).flatten(0, 1)
        buffer = torch.empty(SAMPLES * HEADS, TOKENS, WIDTH // HEADS)
        torch.bmm(weights, value.flatten(0, 1), out=buffer)
        return buffer.unflatten(0, query.shape[:2])

    torch.manual_seed(0)
    module = Attention({**WAYS, "into a buffer": into_a_buffer}[way])
    x = torch.randn(SAMPLES, TOKENS, WIDTH)
    with torch.no_grad():
        plain = module(x)

    def replaced(listener):
        watch = Watch(listener, lambda *_: None, lambda: True, lambda: (SAMPLES,))
        with torch.no_grad(), AttentionMode(watch):
            return module(x)

    assert torch.equal(replaced(lambda call: None), plain)
    assert torch.equal(replaced(lambda call: call.raw_output.clone()), plain)
    halved = replaced(lambda call: call.raw_output / 2)
    expected = module.out.bias + (plain - module.out.bias) / 2
    torch.testing.assert_close(halved, expected, rtol=0, atol=1e-6)
    assert float((halved - plain).abs().max()) > 1e-3


@pytest.mark.parametrize("need_weights", [True, False])
def test_what_a_listener_returns_is_gone_on_with_inside_torchs_own_attention(need_weights):
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    x = torch.randn(SAMPLES, TOKENS, WIDTH)
    watch = Watch(lambda call: torch.zeros_like(call.raw_output), lambda *_: None, lambda: True)
    with torch.no_grad(), AttentionMode(watch):
        output, _ = attention(x, x, x, need_weights=need_weights)
    torch.testing.assert_close(output, attention.out_proj.bias.expand_as(output), rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_of_a_plain_forward(way):
    torch.manual_seed(0)
    module = Attention(WAYS[way])
    x = torch.randn(SAMPLES, TOKENS, WIDTH)
    module(x).square().sum().backward()
    plain = module.project.weight.grad.clone()
    module.zero_grad()
    with clsight.Recorder(module):
        output = module(x)
    output.square().sum().backward()
    assert torch.equal(module.project.weight.grad, plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_seen(dtype):
    torch.manual_seed(0)
    module = Attention(WAYS["F"]).to(dtype)
    record = clsight.capture(module, torch.randn(SAMPLES, TOKENS, WIDTH, dtype=dtype))
    assert record.attrs["dtype"] == str(dtype).removeprefix("torch.")
    np.testing.assert_allclose(record.attends_to[:, 0], module.dense[:, :, 0], atol=1e-6)
    np.testing.assert_allclose(record.attended_by[:, 0], module.dense[..., 0], atol=1e-6)


@pytest.mark.parametrize("way", ["F", "explicit"])
def test_autocast_is_seen_in_the_dtype_that_ran(way):
    torch.manual_seed(0)
    module = Attention(WAYS[way])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        record = clsight.capture(module, torch.randn(SAMPLES, TOKENS, WIDTH))
    assert record.attrs["dtype"] == "bfloat16"
    np.testing.assert_allclose(record.attends_to.sum("token"), 1.0, atol=1e-6)


def test_inference_mode_is_seen():
    module = Attention(WAYS["F"])
    with torch.inference_mode():
        record = clsight.capture(module, torch.randn(SAMPLES, TOKENS, WIDTH))
    np.testing.assert_allclose(record.attends_to[:, 0], module.dense[:, :, 0], atol=1e-6)


def test_kernel_without_log_sum_exp_falls_back_to_blocks():
    module = Attention(
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v[..., :2]).repeat(1, 1, 1, 2)[..., :3]
    )
    record = clsight.capture(module, torch.randn(SAMPLES, TOKENS, WIDTH))
    assert record.attrs["kernel"] == ["math, column in blocks"]
    np.testing.assert_allclose(record.attended_by[:, 0], module.dense[..., 0], atol=1e-6)
    assert "value" in record.attrs["absent"]


def test_a_softmax_that_is_no_attention_is_not_taken_for_it():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.gate = Attention(WAYS["F"]), nn.Linear(WIDTH, 5)

        def forward(self, x):
            return self.attention(x) * torch.softmax(self.gate(x) @ torch.ones(5, 5), dim=-1).sum(
                -1, keepdim=True
            )

    record = clsight.capture(Gate(), torch.randn(SAMPLES, TOKENS, WIDTH))
    assert record.sizes["layer"] == 1


def test_recorder_joins_forwards_along_sample():
    module = Attention(WAYS["F"])
    first, second = torch.randn(2, TOKENS, WIDTH), torch.randn(3, TOKENS + 2, WIDTH)
    with clsight.Recorder(module) as recorder:
        module(first)
        module(second)
    record = recorder.record
    assert record.sizes["sample"] == 5
    np.testing.assert_array_equal(
        record.attends_to[2:].values, clsight.capture(module, second).attends_to.values
    )
    assert (record.attends_to[:2, ..., TOKENS:] == 0).all()


def test_recorder_without_a_forward_tells_what_to_do():
    with clsight.Recorder(Attention(WAYS["F"])) as recorder:
        pass
    with pytest.raises(
        clsight.CaptureError, match=r"expected at least one forward pass inside the `with` block"
    ):
        _ = recorder.record


def test_attention_outside_the_module_is_not_recorded():
    module, other = Attention(WAYS["F"]), Attention(WAYS["F"])
    x = torch.randn(SAMPLES, TOKENS, WIDTH)
    with clsight.Recorder(module) as recorder:
        other(x)
        module(x)
    assert recorder.record.sizes["layer"] == 1


def test_recomputation_of_checkpointing_is_not_recorded():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention(WAYS["F"])

        def forward(self, x):
            return torch.utils.checkpoint.checkpoint(self.attention, x, use_reentrant=False)

    module = Checkpointed()
    with clsight.Recorder(module) as recorder:
        module(torch.randn(SAMPLES, TOKENS, WIDTH)).sum().backward()
    assert recorder.record.sizes["layer"] == 1


@pytest.mark.slow
def test_threads_do_not_see_each_other():
    """1,000 captures over 4 threads, with plain forwards between them, lose no call and gain none."""
    torch.manual_seed(0)
    encoders = [small_encoder(depth) for depth in (1, 2, 3, 4)]
    inputs = [torch.randn(2, 5 + thread, 8) for thread in range(4)]
    expected = [clsight.capture(e, x).attends_to.values for e, x in zip(encoders, inputs, strict=True)]
    with torch.no_grad():
        plain = [encoder(x) for encoder, x in zip(encoders, inputs, strict=True)]
    failures = []

    def work(thread):
        for turn in range(250):
            record = clsight.capture(encoders[thread], inputs[thread])
            if not np.array_equal(record.attends_to.values, expected[thread]):
                failures.append((thread, turn, "capture"))
            with torch.no_grad():
                if not torch.equal(encoders[thread](inputs[thread]), plain[thread]):
                    failures.append((thread, turn, "plain forward"))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.slow
def test_threads_may_capture_one_module():
    encoder = small_encoder(3)
    inputs = [torch.randn(2, 5 + thread, 8) for thread in range(4)]
    expected = [clsight.capture(encoder, x).attends_to.values for x in inputs]
    failures = []

    def work(thread):
        for turn in range(50):
            record = clsight.capture(encoder, inputs[thread])
            if not np.array_equal(record.attends_to.values, expected[thread]):
                failures.append((thread, turn))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def small_encoder(depth):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).eval()


def test_model_is_copied_and_saved_inside_a_recorder_as_outside(tmp_path):
    module = nn.TransformerEncoderLayer(WIDTH, HEADS, 20, dropout=0.0, batch_first=True)
    x = torch.randn(SAMPLES, TOKENS, WIDTH)
    with clsight.Recorder(module) as recorder:
        module(x)
        copied = copy.deepcopy(module)
        torch.save(module, tmp_path / "module.pt")
        copied(x)  # the copy is another module: it does not count
    assert recorder.record.sizes["sample"] == SAMPLES
    loaded = torch.load(tmp_path / "module.pt", weights_only=False)
    torch.testing.assert_close(loaded(x), module(x))
