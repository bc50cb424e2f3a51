"""The self-check must refuse a map that does not reproduce the operation."""

from dataclasses import replace

import pytest
import torch

from clsight.errors import CaptureError
from clsight.hooks.assembly import Layer
from clsight.hooks.cls_view import view_cls
from clsight.hooks.kernels import KernelReader
from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.self_check import check_layers

SAMPLES, HEADS, TOKENS, WIDTH = 2, 3, 11, 5
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def attention_call(dtype=torch.float32, *, scale_of_query=1.0):
    """A masked call that ran for real, with the kernel's own log-sum-exp."""
    torch.manual_seed(1)
    query, key, value = (torch.randn(SAMPLES, HEADS, TOKENS, WIDTH).to(dtype) for _ in range(3))
    query = query * scale_of_query
    mask = torch.zeros(SAMPLES, 1, 1, TOKENS, dtype=torch.bool)
    mask[:, ..., :9] = True
    with KernelReader() as kernel:
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return AttentionCall(
        query=query,
        key=key,
        value=value,
        output=output,
        scale=WIDTH**-0.5,
        mask=mask,
        log_sum_exp=kernel.log_sum_exp,
        kernel=kernel.name,
    )


def check(call, dtype=torch.float32, **changes):
    view = view_cls(call, Position(torch.zeros(SAMPLES, dtype=torch.int64)))
    layer = Layer.of(replace(call, softmax_dtype=dtype), ("", "layers.7"))
    layer.view = replace(view, **changes)
    check_layers([layer], ["layers.7"])
    return view


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale_of_query", [1.0, 8.0])
def test_true_view_passes(dtype, scale_of_query):
    check(attention_call(dtype, scale_of_query=scale_of_query), dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_output_that_is_one_percent_off_is_refused(dtype):
    call = attention_call(dtype)
    with pytest.raises(CaptureError, match=r"the CLS row times the values to be the layer's own output"):
        check(replace(call, output=call.output * 1.01), dtype)


def with_fewer_bits(tensor):
    """Round to the 10 bits of a mantissa that TF32 keeps."""
    return ((tensor.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def tf32_call(scale_of_query):
    """A call whose output was computed as a GPU does that may round the factors of float32 products."""
    call = attention_call(scale_of_query=scale_of_query)
    scores = with_fewer_bits(call.query) @ with_fewer_bits(call.key).mT * call.scale
    weights = torch.softmax(scores.masked_fill(~call.mask, float("-inf")), dim=-1)
    output = with_fewer_bits(weights) @ with_fewer_bits(call.value)
    return replace(call, output=output, log_sum_exp=None, kernel="math")


@pytest.fixture
def fewer_bits():
    """Let torch compute products of float32 in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("scale_of_query", [1.0, 8.0])
@pytest.mark.usefixtures("fewer_bits")
def test_output_rounded_as_the_user_allows_passes(scale_of_query):
    check(tf32_call(scale_of_query))


@pytest.mark.usefixtures("fewer_bits")
def test_output_that_is_one_percent_off_is_refused_where_products_are_rounded_too():
    call = tf32_call(1.0)
    with pytest.raises(CaptureError, match=r"the CLS row times the values to be the layer's own output"):
        check(replace(call, output=call.output * 1.01))


@pytest.mark.parametrize("scale_of_query", [1.0, 8.0])
def test_output_rounded_without_leave_is_refused(scale_of_query):
    with pytest.raises(CaptureError, match=r"the CLS row times the values to be the layer's own output"):
        check(tf32_call(scale_of_query))


@pytest.mark.parametrize("dtype", DTYPES)
def test_normalizer_that_is_one_percent_off_is_refused(dtype):
    call = attention_call(dtype)
    with pytest.raises(CaptureError, match=r"the CLS column to agree with rows computed whole"):
        check(replace(call, log_sum_exp=call.log_sum_exp + 0.01), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_swapped_heads_are_refused(dtype):
    call = attention_call(dtype)
    with pytest.raises(CaptureError, match=r"layers\.7"):
        check(replace(call, query=call.query.roll(1, dims=1)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_mask_is_refused(dtype):
    call = attention_call(dtype)
    with pytest.raises(CaptureError, match=r"layers\.7"):
        check(replace(call, mask=call.mask.roll(1, dims=-1)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_scale_is_refused(dtype):
    call = attention_call(dtype)
    with pytest.raises(CaptureError, match=r"layers\.7"):
        check(replace(call, scale=call.scale * 1.1), dtype)


def test_message_names_layer_samples_and_next_step():
    call = attention_call()
    output = call.output.clone()
    output[1] += 1
    with pytest.raises(CaptureError) as caught:
        check(replace(call, output=output))
    message = str(caught.value)
    assert message.startswith(
        "`layers.7`: expected the CLS row times the values to be the layer's own output"
    )
    assert "Samples 1." in message
    assert message.endswith("is not shown; please report the model's attention code.")


def test_output_check_is_nan_with_dropout_and_the_column_is_still_checked():
    call = attention_call()
    dropped = replace(call, output=call.output * 3, has_dropout=True)
    view = check(dropped)
    assert view.output_error.isnan().all()
    with pytest.raises(CaptureError, match=r"the CLS column"):
        check(replace(dropped, log_sum_exp=call.log_sum_exp + 0.01))
