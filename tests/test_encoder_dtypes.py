"""Encoders in half precision, under autocast and in float64, each against the operations it really ran.

In half precision the layers of a model differ from those of its float64 copy by the rounding of everything
before them. So what is compared is each attention operation with itself: the queries and keys it received (or
the scores, where the model wrote attention out), rounded as they are, and their weights in float64.
"""

import pytest
import torch

import clsight
from dense_attention import attention_of_own_operations
from encoder_comparison import compare
from encoder_zoo import ZOO

pytestmark = pytest.mark.slow  # `make check` keeps the encoders of test_encoders.py

NAMES = [
    "TransformerEncoder, post-norm, padding",
    "BERT, sdpa",
    "BERT, eager",
    "ViT, sdpa",
    "ViT, eager",
    "CLIP text (end of text as CLS), sdpa",
    "DINOv3, sdpa",
    "vit",
    "eva02",
]
BOUNDS = {torch.float16: 1e-5, torch.bfloat16: 1e-5, torch.float64: 1e-12}


def in_dtype(inputs, dtype):
    """Return inputs with every floating-point tensor in `dtype`."""
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
def test_row_and_column_equal_those_of_the_operations_that_ran(name, dtype):
    encoder = ZOO[name]
    module, inputs = encoder.build().to(dtype), in_dtype(encoder.inputs(), dtype)
    found = compare(module, inputs, cls_index=encoder.cls_index, reference=attention_of_own_operations)
    assert found.record.attrs["dtype"] == str(dtype).removeprefix("torch.")
    assert found.row_error <= BOUNDS[dtype]
    assert found.column_error <= BOUNDS[dtype]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_is_read_in_the_dtype_of_the_operation(name, dtype):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    with torch.autocast("cpu", dtype):
        found = compare(module, inputs, cls_index=encoder.cls_index, reference=attention_of_own_operations)
    assert found.record.attrs["dtype"] == str(dtype).removeprefix("torch.")
    assert found.row_error <= BOUNDS[dtype]
    assert found.column_error <= BOUNDS[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("name", ["BERT, sdpa", "ViT, eager"])
def test_logits_are_bit_for_bit_those_without_a_capture(name, dtype, autocast):
    encoder = ZOO[name]
    module, inputs = encoder.build(), encoder.inputs()
    if not autocast:
        module, inputs = module.to(dtype), in_dtype(inputs, dtype)
    with torch.autocast("cpu", dtype, enabled=autocast), torch.no_grad():
        plain = module(**inputs).logits
        with clsight.Recorder(module):
            captured = module(**inputs).logits
    assert torch.equal(plain, captured)


def test_float64_weights_are_float64():
    encoder = ZOO["BERT, sdpa"]
    record = clsight.capture(encoder.build().double(), encoder.inputs())
    assert {record[name].dtype.name for name in ("attends_to", "attended_by", "query")} == {"float64"}
