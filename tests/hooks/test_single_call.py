"""`clsight.capture` on torch's own encoder and attention modules, against dense float64 attention."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import encoders
import reference
from clsight.errors import CaptureError

SEEDS = range(50)


def largest_error(record, dense, cls_index):
    """Largest error of row and column over real tokens."""
    row = np.abs(record.attends_to.values - dense[:, :, :, cls_index, :])
    column = np.abs(record.attended_by.values - dense[:, :, :, :, cls_index])
    real = record.token_mask.values[:, None, None]
    return max(row.max(), column[np.broadcast_to(real, column.shape)].max())


def dense_float32(case):
    """Weights that torch itself gives when asked for them, float32: [sample, layer, head, query, key]."""
    weights = []
    for layer in case.encoder.layers:
        attention = layer.self_attn

        def ask(*args, forward=attention.forward, **kwargs):
            output, found = forward(*args, **{**kwargs, "need_weights": True, "average_attn_weights": False})
            weights.append(found.detach())
            return output, found

        attention.forward = ask
    case.encoder.eval()
    case.encoder(**case.kwargs)
    for layer in case.encoder.layers:
        del layer.self_attn.forward
    return torch.stack(weights, dim=1).numpy()


FEW_NOW_REST_SLOW = [seed if seed < 6 else pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS]


@pytest.mark.parametrize("seed", FEW_NOW_REST_SLOW)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_row_and_column_equal_dense_attention(seed, dtype, bound):
    case = encoders.random_case(seed, dtype=dtype)
    record = clsight.capture(case.encoder, case.kwargs, cls_index=case.cls_index)
    assert largest_error(record, case.dense(), case.cls_index) <= bound


@pytest.mark.parametrize("seed", FEW_NOW_REST_SLOW)
def test_saturated_row_and_column_are_as_exact_as_dense_float32(seed):
    case = encoders.random_case(seed, weight_std=0.5)
    dense = case.dense()
    record = clsight.capture(case.encoder, case.kwargs, cls_index=case.cls_index)
    real_queries = ~case.padding.numpy()[:, None, None, :, None]
    of_dense = np.abs((dense_float32(case) - dense) * real_queries).max()
    # 4 times the error of dense float32; where that error is 0, one rounding of a weight near 1
    assert largest_error(record, dense, case.cls_index) <= max(4 * of_dense, 2.0**-23)


@pytest.mark.parametrize("seed", FEW_NOW_REST_SLOW)
def test_output_is_the_plain_output_at_real_tokens(seed):
    case = encoders.random_case(seed)
    case.encoder.eval()
    with torch.no_grad():
        plain = case.encoder(**case.kwargs)
    with clsight.Recorder(case.encoder), torch.no_grad():
        seen = case.encoder(**case.kwargs)
    real = ~case.padding if case.batch_first else ~case.padding.T
    torch.testing.assert_close(seen[real], plain[real], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_vectors_are_those_of_the_cls_position(seed):
    case = encoders.random_case(seed, dtype=torch.float64)
    record = clsight.capture(case.encoder, case.kwargs, cls_index=case.cls_index)
    module = case.encoder.layers[0].self_attn
    states = case.inputs.double().numpy()[:, case.cls_index]
    if case.encoder.layers[0].norm_first:
        states = np.stack([reference.normalized(case.encoder.layers[0].norm1, state) for state in states])
    width = module.embed_dim
    weight = module.in_proj_weight.detach().numpy()
    bias = 0 if module.in_proj_bias is None else module.in_proj_bias.detach().numpy()
    projected = (states @ weight.T + bias).reshape(
        len(states), 3, module.num_heads, width // module.num_heads
    )
    for place, name in enumerate(("query", "key", "value")):
        np.testing.assert_allclose(record[name].isel(layer=0), projected[:, place], atol=1e-12)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("heads", [1, 3, 4])
@pytest.mark.parametrize("extra", [{}, {"add_bias_kv": True}, {"add_bias_kv": True, "add_zero_attn": True}])
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_equals_dense_attention(need_weights, heads, extra, batch_first):
    torch.manual_seed(heads)
    module = nn.MultiheadAttention(heads * 5, heads, batch_first=batch_first, dtype=torch.float64, **extra)
    states = torch.randn(2, 7, heads * 5, dtype=torch.float64)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 5:] = True
    x = states if batch_first else states.transpose(0, 1)
    call = {"query": x, "key": x, "value": x, "need_weights": need_weights, "key_padding_mask": padding}
    record = clsight.capture(module, call, cls_index=2)
    for sample, padded in enumerate(padding.numpy()):
        one = states[sample].numpy()
        weights, _ = reference.attention_of_one_sample(
            module, one, one, one, blocked=np.broadcast_to(padded, (7, 7))
        )
        np.testing.assert_allclose(record.attends_to[sample, 0], weights[:, 2], atol=1e-12)
        column = record.attended_by[sample, 0].values
        np.testing.assert_allclose(column[:, :7][:, ~padded], weights[:, ~padded, 2], atol=1e-12)
        assert np.isnan(column[:, :7][:, padded]).all()
        assert np.isnan(column[:, 7:]).all(), "extra keys have no query"


def test_multihead_attention_without_a_batch_is_one_sample():
    module = nn.MultiheadAttention(12, 3)
    x = torch.randn(7, 12)
    record = clsight.capture(module, (x, x, x))
    assert dict(record.attends_to.sizes) == {"sample": 1, "layer": 1, "head": 3, "token": 7}


def test_value_norm_is_the_norm_after_the_output_projection():
    torch.manual_seed(0)
    module = nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    record = clsight.capture(module, (x, x, x))
    weight = module.in_proj_weight[24:].detach().numpy()
    out = module.out_proj.weight.detach().numpy()
    for sample, head, token in np.ndindex(2, 3, 7):
        part = slice(head * 4, head * 4 + 4)
        value = weight[part] @ x[sample, token].numpy()
        expected = np.linalg.norm(out[:, part] @ value)
        np.testing.assert_allclose(record.value_norm[sample, 0, head, token], expected, atol=1e-12)


def test_padding_gets_zero_in_the_row_and_nan_in_the_column(padded_case):
    record = clsight.capture(padded_case.encoder, padded_case.kwargs)
    padding = padded_case.padding.numpy()
    np.testing.assert_array_equal(record.token_mask, ~padding)
    assert (record.attends_to.values.transpose(0, 3, 1, 2)[padding] == 0).all()
    assert np.isnan(record.attended_by.values.transpose(0, 3, 1, 2)[padding]).all()
    np.testing.assert_array_equal(record.token_kind == "pad", padding)


def test_padding_is_found_in_the_attention_when_no_mask_is_named(padded_case):
    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = padded_case.encoder

        def forward(self, x, gone):
            return self.inner(x, src_key_padding_mask=gone)

    x = padded_case.inputs if padded_case.batch_first else padded_case.inputs.transpose(0, 1)
    record = clsight.capture(Renamed(), (x, padded_case.padding))
    np.testing.assert_array_equal(record.token_mask, ~padded_case.padding.numpy())


def test_a_note_tells_of_a_mask_that_the_attention_does_not_honor(padded_case):
    mask = ~padded_case.padding
    x = padded_case.inputs if padded_case.batch_first else padded_case.inputs.transpose(0, 1)
    record = clsight.capture(padded_case.encoder, x, token_mask=mask)
    assert any("does not honor this mask" in note for note in record.attrs["notes"])
    honored = clsight.capture(padded_case.encoder, padded_case.kwargs, token_mask=mask)
    assert honored.attrs["notes"] == []


@pytest.fixture
def padded_case():
    case = next(case for case in map(encoders.random_case, SEEDS) if case.padding.any() and not case.causal)
    return case


def test_rows_sum_to_one(padded_case):
    record = clsight.capture(padded_case.encoder, padded_case.kwargs)
    np.testing.assert_allclose(record.attends_to.sum("token"), 1.0, atol=1e-6)


def test_permuting_heads_permutes_the_record():
    case = encoders.random_case(3, dtype=torch.float64)
    heads = case.encoder.layers[0].self_attn.num_heads
    assert heads > 2
    before = clsight.capture(case.encoder, case.kwargs)
    order = np.roll(np.arange(heads), 1)
    with torch.no_grad():
        for layer in case.encoder.layers:
            permute_heads(layer.self_attn, order)
    after = clsight.capture(case.encoder, case.kwargs)
    np.testing.assert_allclose(after.attends_to, before.attends_to.values[:, :, order], atol=1e-12)
    np.testing.assert_allclose(after.attended_by, before.attended_by.values[:, :, order], atol=1e-12)


def permute_heads(attention, order):
    size = attention.head_dim
    rows = np.concatenate([np.arange(head * size, (head + 1) * size) for head in order])
    every = np.concatenate([rows + part * attention.embed_dim for part in range(3)])
    attention.in_proj_weight.copy_(attention.in_proj_weight[every])
    if attention.in_proj_bias is not None:
        attention.in_proj_bias.copy_(attention.in_proj_bias[every])
    attention.out_proj.weight.copy_(attention.out_proj.weight[:, rows])


def test_one_cls_position_per_sample():
    case = encoders.random_case(0, dtype=torch.float64)
    assert len(case.inputs) > 1
    positions = [sample % 2 for sample in range(len(case.inputs))]
    record = clsight.capture(case.encoder, case.kwargs, cls_index=positions)
    dense = case.dense()
    for sample, position in enumerate(positions):
        np.testing.assert_allclose(record.attends_to[sample], dense[sample, :, :, position], atol=1e-12)


def test_negative_cls_index_counts_from_the_end():
    case = next(case for case in map(encoders.random_case, SEEDS) if not case.padding.any())
    last = case.padding.shape[1] - 1
    by_end = clsight.capture(case.encoder, case.kwargs, cls_index=-1)
    np.testing.assert_array_equal(
        by_end.attends_to, clsight.capture(case.encoder, case.kwargs, cls_index=last).attends_to
    )
    assert by_end.attrs["cls_index"] == last


def test_module_is_left_as_it_was(padded_case):
    encoder = padded_case.encoder.train()
    encoder.layers[-1].eval()
    modes = [module.training for module in encoder.modules()]
    generator = torch.get_rng_state()
    clsight.capture(encoder, padded_case.kwargs)
    assert [module.training for module in encoder.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("place", ["layers.0.self_attn", "layers.0.linear1", "layers.0.norm2", "layers.0"])
def test_module_is_left_as_it_was_when_a_layer_raises(padded_case, place):
    encoder = padded_case.encoder.train()
    broken = encoder.get_submodule(place)

    def explode(*args, **kwargs):
        raise RuntimeError("planted")

    broken.forward = explode
    with pytest.raises(CaptureError, match=r"RuntimeError: planted") as caught:
        clsight.capture(encoder, padded_case.kwargs)
    assert caught.value.subject == place
    del broken.forward
    assert all(module.training for module in encoder.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())
    assert len(torch.overrides._get_current_function_mode_stack()) == 0
    assert torch.is_grad_enabled()
    clsight.capture(encoder, padded_case.kwargs)


def test_dropout_leaves_the_weights_and_makes_the_output_check_nan(padded_case):
    encoder = padded_case.encoder.train()
    torch.manual_seed(0)
    record = clsight.capture(encoder, padded_case.kwargs, eval_mode=False)
    assert record.attention_error.isnull().all()
    np.testing.assert_allclose(record.attends_to.sum("token"), 1.0, atol=1e-6)
    assert any("Dropout was active" in note for note in record.attrs["notes"])
    still = clsight.capture(encoder, padded_case.kwargs)
    np.testing.assert_allclose(record.attends_to[:, 0], still.attends_to[:, 0], atol=1e-6)
    assert encoder.training


def test_inputs_may_be_tensor_tuple_or_mapping():
    case = next(
        case for case in map(encoders.random_case, SEEDS) if not case.padding.any() and not case.causal
    )
    x = case.kwargs["src"]
    expected = clsight.capture(case.encoder, x).attends_to
    np.testing.assert_array_equal(clsight.capture(case.encoder, (x,)).attends_to, expected)
    np.testing.assert_array_equal(clsight.capture(case.encoder, {"src": x}).attends_to, expected)


def small_encoder(**kwargs):
    layer = nn.TransformerEncoderLayer(12, 3, 16, batch_first=True, **kwargs)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def message_of(*args, **kwargs):
    with pytest.raises(CaptureError) as caught:
        clsight.capture(*args, **kwargs)
    return str(caught.value)


def test_wrong_width_names_the_layer():
    message = message_of(small_encoder(), torch.randn(2, 5, 11))
    assert message.startswith("`layers.0.self_attn`: expected a forward pass that runs, but got ")


def test_empty_batch_is_refused():
    assert message_of(small_encoder(), torch.randn(0, 5, 12)) == (
        "`inputs`: expected at least one sample, but got an empty batch of shape (0, 5, 12). "
        "Pass one sample or more."
    )


@pytest.mark.parametrize("cls_index", [5, -6])
def test_cls_index_out_of_range_is_refused(cls_index):
    assert message_of(small_encoder(), torch.randn(2, 5, 12), cls_index=cls_index) == (
        f"`cls_index`: expected a position between -5 and 4, but got {cls_index}. The encoder sees 5 tokens. "
        "Pass the position of CLS in the sequence that the encoder sees."
    )


def test_cls_index_of_wrong_length_is_refused():
    message = message_of(small_encoder(), torch.randn(2, 5, 12), cls_index=[0, 1, 2])
    assert message.startswith(
        "`cls_index`: expected one integer, or one per sample (sample=2), but got shape (3,)"
    )


def test_module_without_attention_is_refused():
    message = message_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(2, 4))
    assert message.startswith("`Sequential`: expected self-attention through scaled_dot_product_attention")
    assert message.endswith(
        "but got no attention call at all. Check that the module runs attention in Python, outside compiled "
        "or scripted code."
    )


def test_nan_weights_name_the_layer():
    encoder = small_encoder()
    with torch.no_grad():
        encoder.layers[1].self_attn.in_proj_weight[0, 0] = float("nan")
    message = message_of(encoder, torch.randn(2, 5, 12))
    assert message.startswith(
        "`layers.1`: expected finite attention scores at CLS, but got NaN or infinity in the scores."
    )


def test_mask_that_does_not_fit_is_refused():
    message = message_of(small_encoder(), torch.randn(2, 5, 12), token_mask=np.ones((2, 7), dtype=bool))
    assert message.startswith(
        "`token_mask`: expected shape (sample=2, token=5), True for real tokens, but got shape (2, 7)."
    )


def test_foreign_inputs_are_refused():
    assert message_of(small_encoder(), np.zeros((2, 5, 12))).startswith(
        "`inputs`: expected a tensor, a tuple or list of positional arguments, or a mapping of keyword "
        "arguments, but got a ndarray."
    )


def test_cross_attention_is_left_out_with_its_reason():
    module = nn.MultiheadAttention(12, 3, batch_first=True)
    message = message_of(module, (torch.randn(2, 5, 12), torch.randn(2, 5, 12), torch.randn(2, 5, 12)))
    assert "cross attention: queries and keys are different tensors" in message


def test_scripted_module_is_refused():
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = torch.jit.trace(nn.Linear(3, 3), torch.randn(1, 3))
    assert "a scripted module, which runs no hooks" in message_of(scripted, torch.randn(1, 3))


@pytest.mark.parametrize("foreign", [None, lambda x: x, "model"])
def test_what_is_no_module_is_refused(foreign):
    message = message_of(foreign, torch.randn(2, 5, 12))
    assert message.startswith("`module_or_subject`: expected a torch module, or what clsight.load returned")


@pytest.mark.parametrize("cls_index", ["0", True, 0.0])
def test_cls_index_of_another_kind_is_refused(cls_index):
    message = message_of(small_encoder(), torch.randn(2, 5, 12), cls_index=cls_index)
    assert message.startswith(f"`cls_index`: expected an integer, or one per sample, but got {cls_index!r}.")


def test_empty_sequence_is_refused():
    class Bare(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    message = message_of(Bare(), torch.randn(2, 3, 0, 4))
    assert "expected at least one token, but got an empty sequence" in message


def test_given_mask_must_fit_as_it_is():
    message = message_of(small_encoder(), torch.randn(2, 7, 12), token_mask=np.ones((2, 5), dtype=bool))
    assert message.startswith("`token_mask`: expected shape (sample=2, token=7)")


class Headed(nn.Module):
    """An encoder with a class head, which adds `added` tokens of its own in front."""

    def __init__(self, added=0):
        super().__init__()
        self.encoder, self.head, self.added = small_encoder(), nn.Linear(12, 4), added

    def forward(self, x, attention_mask=None):
        x = torch.cat([torch.zeros(len(x), self.added, 12), x], dim=1)
        return self.head(self.encoder(x)[:, 0])


def test_nan_behind_the_attention_is_refused():
    model = Headed()
    nn.init.constant_(model.head.weight, float("nan"))
    message = message_of(model, torch.randn(2, 5, 12))
    assert message.startswith("`logits`: expected finite logits, but got NaN. Samples 0, 1.")


@pytest.mark.parametrize(("added", "notes"), [(0, 0), (1, 0), (3, 1)])
def test_note_tells_of_tokens_that_the_mask_in_the_call_leaves_out(added, notes):
    call = {"x": torch.randn(2, 5, 12), "attention_mask": torch.ones(2, 5)}
    record = clsight.capture(Headed(added), call)
    assert sum("The mask in the call leaves out" in note for note in record.attrs["notes"]) == notes


def test_decoder_layers_are_left_out_of_an_encoders_record():
    model = nn.Transformer(12, 2, 2, 2, 16, batch_first=True)
    x = torch.randn(2, 5, 12)
    record = clsight.capture(model, (x, x.flip(1)))
    assert list(record.layer_name.values) == ["encoder.layers.0", "encoder.layers.1"]
    assert any("is that of a decoder" in note for note in record.attrs["notes"])


def test_threads_that_capture_one_module_keep_its_modes():
    layer = nn.TransformerEncoderLayer(12, 3, 16, dropout=0.5, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train()
    x = torch.randn(2, 5, 12)
    expected = clsight.capture(encoder, x).attends_to.values
    wrong = []

    def work():
        for _ in range(60):
            record = clsight.capture(encoder, x)
            if not np.array_equal(record.attends_to.values, expected):
                wrong.append(record)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(module.training for module in encoder.modules())


@pytest.mark.parametrize(
    ("given", "which"),
    [
        ({"src": np.ones((2, 5, 12), np.float32)}, "the array `src`"),
        ((np.ones((2, 5, 12), np.float32),), "the array at position 0"),
        ((np.ones((2, 5, 12)), np.ones((5, 5))), "the arrays at position 0 and at position 1"),
    ],
)
def test_numpy_arrays_among_the_inputs_are_told_to_be_turned_into_tensors(given, which):
    assert message_of(small_encoder(), given).endswith(
        f". Turn {which} into a tensor each: torch.as_tensor(array), in the dtype that the module takes."
    )
