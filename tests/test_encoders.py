"""Every encoder of the zoo, captured on the kernel it runs, against dense float64 attention."""

from functools import cache

import numpy as np
import pytest
import torch

import clsight
import encoder_comparison
from dense_attention import dense_attention
from encoder_comparison import in_layout
from encoder_zoo import ZOO, mark_cls

EXACT = 1e-5  # float32 weights near 1, from scores to ±20 rounded at 2⁻²⁴; measured errors are below 1e-6
every_encoder = pytest.mark.parametrize("name", ZOO)
compare_by_name = cache(encoder_comparison.compare_by_name)


def tensors(output):
    """Yield every tensor of a model's output, in order."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict):
        yield from tensors(list(output.values()))
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from tensors(part)


@pytest.fixture
def no_native_fast_path():
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@every_encoder
def test_layers_are_those_that_hold_cls(name):
    assert tuple(compare_by_name(name).record.layer_name.values) == ZOO[name].layer_names


@every_encoder
def test_row_and_column_equal_dense_attention(name):
    found = compare_by_name(name)
    assert found.row_error <= EXACT
    assert found.column_error <= EXACT


@every_encoder
def test_weights_are_far_from_uniform_so_that_an_error_would_show(name):
    found = compare_by_name(name)
    row = found.record.attends_to
    assert float(row.max("token").max("sample").min()) > 1.5 / row.sizes["token"]
    next_head = row.roll(head=1).values
    assert float(abs(row - next_head).max("token").max("sample").min()) > 0.01


@every_encoder
def test_a_column_exists_where_tokens_ask(name):
    record = compare_by_name(name).record
    only_cls_asks = np.isfinite(record.attended_by).sum("token") == 1
    assert bool(only_cls_asks.all()) == ZOO[name].cls_alone_asks
    assert all("only query" in kernel for kernel in record.attrs["kernel"]) == ZOO[name].cls_alone_asks


@every_encoder
def test_value_norm_is_there_or_absent_with_the_reason(name):
    record = compare_by_name(name).record
    assert ("value_norm" in record) == (not ZOO[name].value_norm)
    assert record.attrs["absent"].get("value_norm", "").startswith(ZOO[name].value_norm)
    assert "value_norm" not in record or bool((record.value_norm > 0).all())


@every_encoder
@pytest.mark.usefixtures("no_native_fast_path")
def test_output_and_random_state_are_bit_for_bit_those_without_a_capture(name):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    torch.manual_seed(5)
    with torch.no_grad():
        plain = list(tensors(module(**inputs)))
    state = torch.random.get_rng_state()
    torch.manual_seed(5)
    with clsight.Recorder(module, cls_index=encoder.cls_index), torch.no_grad():
        captured = list(tensors(module(**inputs)))
    assert len(plain) == len(captured) > 0
    assert all(torch.equal(*pair) for pair in zip(plain, captured, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "name",
    # torch's fast path reads an additive mask as a boolean one: what runs without a capture is NaN there.
    [name for name, encoder in ZOO.items() if encoder.native_fast_path and "additive" not in name],
)
def test_output_is_the_plain_output_up_to_rounding_on_the_native_fast_path(name):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    if (
        "src_key_padding_mask" in inputs
    ):  # the fast path leaves zeros at padding: tests/hooks/test_single_call
        inputs["src_key_padding_mask"] = None
    with torch.no_grad():
        plain = next(tensors(module(**inputs)))
    with clsight.Recorder(module), torch.no_grad():
        captured = next(tensors(module(**inputs)))
    assert torch.allclose(plain, captured, atol=1e-5)


@every_encoder
def test_marking_cls_changes_queries_and_keys_at_cls_index_alone(name):
    encoder = ZOO[name]
    module, inputs = encoder.build().double(), encoder.inputs()
    record = compare_by_name(name).record
    before = first_operation(module, inputs, record)
    mark_cls(encoder, module, inputs)
    difference = (first_operation(module, inputs, record).scores - before.scores).abs()
    changed = (in_layout(difference, record) > 1e-9).any(1).numpy()
    for sample, position in enumerate(encoder.positions(record.sizes["token"])):
        row = 0 if encoder.cls_alone_asks else position
        assert changed[sample, row, position]
        assert changed[sample, row].sum() > 1
        changed[sample, row] = False
        changed[sample, :, position] = False
    assert not changed.any()


def first_operation(module, inputs, record):
    """Return the dense operation of the first layer of the record."""
    tokens = record.sizes["token"]
    return next(found for found in dense_attention(module, inputs) if found.scores.shape[-1] == tokens)


@pytest.mark.parametrize("name", [name for name, encoder in ZOO.items() if not encoder.value_norm])
def test_marking_cls_changes_the_value_at_cls_index_alone(name):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    mark_cls(encoder, module, inputs)
    after = clsight.capture(module, inputs, cls_index=encoder.cls_index).value_norm
    difference = abs(after - compare_by_name(name).record.value_norm).isel(layer=0).max("head").values
    positions = encoder.positions(difference.shape[1])
    assert (difference > 1e-4).nonzero()[1].tolist() == positions


@every_encoder
def test_cls_vectors_follow_what_stands_at_cls(name):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    mark_cls(encoder, module, inputs)
    before = compare_by_name(name).record
    after = clsight.capture(module, inputs, cls_index=encoder.cls_index)
    for vector in ("query", "key", "value"):
        difference = abs(after[vector] - before[vector]).isel(layer=0).max("head_dim")
        assert bool((difference > 1e-3).all()), vector
