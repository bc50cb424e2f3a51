"""What does a forward pass do between its attention calls? Linear maps, norms, sums and scales, as they run.

A `TorchFunctionMode` of its own sees them and changes nothing. It is entered before the one that sees
attention, so that it also sees what runs inside `nn.MultiheadAttention`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_F = nn.functional


@dataclass(frozen=True)
class LinearMap:
    """`result = features · weightᵀ + bias`."""

    features: Tensor
    weight: Tensor
    bias: Tensor | None
    result: Tensor


@dataclass(frozen=True)
class Normalization:
    """A norm over the last dimension; one that does not center is a root mean square norm."""

    features: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float
    centers: bool
    result: Tensor


@dataclass(frozen=True)
class Sum:
    """`result = left + right`; `left` as it was before, where the sum is made in place."""

    left: Tensor
    right: Tensor
    result: Tensor


@dataclass(frozen=True)
class Scaled:
    """`result = features · factor`, the factor a number or one number per channel."""

    features: Tensor
    factor: Tensor | float
    result: Tensor


Event = LinearMap | Normalization | Sum | Scaled


class Trace(TorchFunctionMode):
    """Report linear maps, norms, sums and scales in this thread while the mode is entered.

    Args:
        listener: Called with each event after it has happened.
    """

    def __init__(self, listener: Callable[[Event], None]) -> None:
        self._listener = listener

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        reader = _READERS.get(func)
        if reader is None:
            return func(*args, **kwargs)
        if func in _IN_PLACE and isinstance(args[0], Tensor):
            before: tuple[Any, ...] = (args[0].detach().clone(), *args[1:])
        else:
            before = args
        result = func(*args, **kwargs)
        event = reader(before, kwargs, result)
        if event is not None:
            self._listener(event)
        return result


def _linear(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Tensor) -> Event:
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | dict(kwargs)
    return LinearMap(given["input"], given["weight"], given.get("bias"), result)


def _layer_norm(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Tensor) -> Event | None:
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    if len(tuple(given["normalized_shape"])) != 1:
        return None
    weight, bias, eps = given.get("weight"), given.get("bias"), given.get("eps", 1e-5)
    return Normalization(given["input"], weight, bias, eps, centers=True, result=result)


def _rms_norm(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Tensor) -> Event | None:
    given = dict(zip(("input", "normalized_shape", "weight", "eps"), args, strict=False)) | dict(kwargs)
    if len(tuple(given["normalized_shape"])) != 1:
        return None
    features, eps = given["input"], given.get("eps")
    eps = torch.finfo(features.dtype).eps if eps is None else eps
    return Normalization(features, given.get("weight"), None, eps, centers=False, result=result)


def _sum(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Event | None:
    left, right = (*args, *kwargs.values())[:2]
    if kwargs.get("alpha", 1) != 1 or not all(isinstance(one, Tensor) for one in (left, right, result)):
        return None
    return Sum(left, right, result) if result.is_floating_point() else None


def _scaled(args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Event | None:
    left, right = (*args, *kwargs.values())[:2]
    if not isinstance(result, Tensor) or not result.is_floating_point():
        return None
    for features, factor in ((left, right), (right, left)):
        if not isinstance(features, Tensor):
            continue
        if isinstance(factor, int | float):
            return Scaled(features, float(factor), result)
        if (
            isinstance(factor, Tensor)
            and factor.dim() > 0
            and factor.numel() == factor.shape[-1] == features.shape[-1]
        ):
            return Scaled(features, factor.reshape(-1), result)
    return None


_IN_PLACE: set[Any] = {torch.Tensor.add_, torch.Tensor.__iadd__, torch.Tensor.mul_, torch.Tensor.__imul__}
_SUMS = {torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.Tensor.add_}
_SCALES = {torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__, torch.Tensor.mul_}
_READERS: dict[Any, Callable[[tuple[Any, ...], Mapping[str, Any], Any], Event | None]] = {
    _F.linear: _linear,
    **dict.fromkeys((_F.layer_norm, torch.layer_norm), _layer_norm),
    **dict.fromkeys((_F.rms_norm, torch.rms_norm), _rms_norm),
    **dict.fromkeys((*_SUMS, torch.Tensor.__iadd__), _sum),
    **dict.fromkeys((*_SCALES, torch.multiply, torch.Tensor.__imul__), _scaled),
}
