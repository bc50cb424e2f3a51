"""The log-sum-exp read off the kernel is the one of the scores."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from clsight.hooks import kernels
from clsight.hooks.kernels import KernelReader


def tensors(dtype, *, requires_grad=False):
    torch.manual_seed(0)
    return [torch.randn(2, 3, 9, 8).to(dtype).requires_grad_(requires_grad) for _ in range(3)]


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(
    ("dtype", "result", "bound"),
    [
        (torch.float64, torch.float64, 1e-14),
        (torch.float32, torch.float32, 1e-6),
        (torch.bfloat16, torch.float32, 6.5e-5),
        (torch.float16, torch.float32, 6.5e-5),
    ],
)
def test_log_sum_exp_is_that_of_the_scores(dtype, result, bound, requires_grad):
    query, key, value = tensors(dtype, requires_grad=requires_grad)
    with KernelReader() as kernel:
        scaled_dot_product_attention(query, key, value)
    assert kernel.name == "flash (CPU)"
    assert kernel.dtype == dtype
    assert kernel.log_sum_exp.dtype == result
    assert kernel.log_sum_exp_error == (bound if bound == 6.5e-5 else 0.0)
    expected = torch.logsumexp(query.double() @ key.double().mT / 8**0.5, dim=-1)
    torch.testing.assert_close(kernel.log_sum_exp.double(), expected, atol=bound, rtol=0)


def test_output_is_untouched():
    query, key, value = tensors(torch.float32)
    plain = scaled_dot_product_attention(query, key, value)
    with KernelReader():
        seen = scaled_dot_product_attention(query, key, value)
    assert torch.equal(seen, plain)


def test_math_path_gives_no_log_sum_exp():
    query, key, value = tensors(torch.float32)
    with KernelReader() as kernel:
        scaled_dot_product_attention(query, key, value[..., :5])
    assert kernel.name == "math"
    assert kernel.log_sum_exp is None


@pytest.mark.parametrize("kernel", kernels._FUSED, ids=str)
def test_kernels_have_the_signature_that_is_relied_on(kernel):
    """On CUDA too, where no test here runs: the places of the flag and of the log-sum-exp."""
    _, ask = kernels._FUSED[kernel]
    names = [argument.name for argument in kernel._schema.arguments]
    asked = ask(tuple(names))
    changed = [name for name, given in zip(names, asked, strict=True) if given is True]
    assert changed == [name for name in names if name == "compute_log_sumexp"]
    assert kernel._schema.returns[1].name in ("logsumexp", "log_sumexp")
    assert names[:3] == ["query", "key", "value"]


def test_log_sum_exp_is_cut_to_the_queries(monkeypatch):
    """The memory-efficient kernel rounds the number of queries up."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    query, key, value = tensors(torch.float32)
    with KernelReader() as plain:
        scaled_dot_product_attention(query, key, value)

    class Padding(KernelReader):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is not flash:
                return func(*args, **(kwargs or {}))

            def padded(*args, **kwargs):
                output, log_sum_exp = flash(*args, **kwargs)
                return output, torch.nn.functional.pad(log_sum_exp, (0, 7))

            with monkeypatch.context() as patch:
                patch.setitem(kernels._FUSED, padded, kernels._FUSED[flash])
                return super().__torch_dispatch__(padded, types, args, kwargs)

    with Padding() as reader:
        scaled_dot_product_attention(query, key, value)
    assert torch.equal(reader.log_sum_exp, plain.log_sum_exp)
