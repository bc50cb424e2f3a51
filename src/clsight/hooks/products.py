"""Matrix products that are as exact as their dtype, and that copy no long sequence.

Two things stand between `@` and that. A user may have allowed matrix products of float32 in fewer bits
(TF32, bfloat16) for the whole process. And torch copies operands whose samples and heads lie apart in memory,
as those of most models do.
"""

import torch
from torch import Tensor

_LARGE = 2**20
_LARGE_SAMPLE = 2**17
_SETTINGS = {"highest": "ieee", "high": "tf32", "medium": "bf16"}
_WIDENS = hasattr(torch.ops.aten.bmm, "dtype")  # since torch 2.8


def product(left: Tensor, right: Tensor) -> Tensor:
    """Return `left @ right`, `[sample, group, row, column]`, at least as exact as float32.

    Args:
        left: `[sample, group, row, inner]`, small.
        right: `[sample, group, inner, column]`, of the same dtype.
    """
    if exact_dtype(left) != left.dtype:
        return product(left.double(), right.double()).to(left.dtype)
    if left.shape[2] == 1 and right.nbytes <= _LARGE:
        return (left.transpose(2, 3) * right).sum(2, keepdim=True)
    if _would_be_copied(right):
        return torch.stack([one @ other for one, other in zip(left, right, strict=True)])
    return left @ right


def product_in(dtype: torch.dtype, left: Tensor, right: Tensor) -> Tensor:
    """Return `left @ right` as `product` does, computed in a dtype that holds every number of theirs.

    A GPU multiplies half precision exactly, adds up in float32, and need not write out a wider copy first.
    """
    is_half = left.dtype == right.dtype and right.dtype in (torch.bfloat16, torch.float16)
    if _WIDENS and is_half and dtype == torch.float32 and right.device.type == "cuda":
        wide = torch.bmm(left.flatten(0, 1), right.flatten(0, 1), out_dtype=dtype)
        return wide.view(*left.shape[:3], -1)
    return product(left.to(dtype), right.to(dtype))


def result_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of what is computed from a tensor: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def exact_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype in which products are at least as exact as float32."""
    return torch.float64 if rounding_of_products(tensor.device.type) else result_dtype(tensor)


def _would_be_copied(tensor: Tensor) -> bool:
    """Tell whether torch copies a large tensor to make its samples and groups one dimension."""
    samples, groups = tensor.shape[:2]
    if samples == 1 or tensor.nbytes <= _LARGE or tensor.nbytes // samples < _LARGE_SAMPLE:
        return False
    return groups > 1 and tensor.stride(0) != tensor.stride(1) * groups


def rounding_of_products(device: str) -> float:
    """Return how far the user lets a device round each factor of a float32 product, relatively; 0.0: not."""
    backend = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}.get(device)
    setting = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if setting is None:  # torch before 2.9 has one setting for all
        setting = _SETTINGS[torch.get_float32_matmul_precision()]
    return {"tf32": 2.0**-11, "bf16": 2.0**-8}.get(setting, 0.0)
