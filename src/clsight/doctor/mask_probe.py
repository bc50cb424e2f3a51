"""Inputs with a token masked, and the same with that token changed: does a model honor its mask?"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from clsight.doctor.examination import Examination, NotApplicableError

_REAL: Final = {"token_mask": True, "attention_mask": True, "src_key_padding_mask": False}
"""The names of masks that calls have, and the value that means a real token."""


@dataclass(frozen=True)
class Probe:
    """Two calls that differ only in what a mask hides.

    Attributes:
        name: The name of the mask in the call.
        inputs: The call with at least one token masked in each sample.
        changed: The same with the masked tokens changed.
        masked: `[sample, time]`, True = masked, in the input's own sequence.
    """

    name: str
    inputs: dict[str, Any]
    changed: dict[str, Any]
    masked: Tensor


def mask_probe(examination: Examination) -> Probe:
    """Return the probe for a model.

    Raises:
        NotApplicableError: If the call takes no mask that is known, or the inputs are no sequence.
    """
    call = _bound(examination)
    parameters = inspect.signature(examination.module.forward).parameters
    name = next((name for name in _REAL if name in parameters or name in call), None)
    if name is None:
        raise NotApplicableError(f"the call has no argument {', '.join(f'`{known}`' for known in _REAL)}")
    tokens = examination.input_tokens
    if tokens is None or examination.samples != _first(call).shape[0]:
        raise NotApplicableError("the inputs are no batch of sequences")
    real = _real(call.get(name), _REAL[name], _first(call))
    masked = ~real
    last = real.int().cumsum(1).argmax(1)  # the last real token of each sample
    reserved = examination.positions.to(real.device) - (examination.tokens - tokens)
    free = (real.sum(1) > 1) & (last != reserved)
    masked[free, last[free]] = True
    if not bool(masked.any()):
        raise NotApplicableError("the samples have no token that could be masked")
    mask = ~masked if _REAL[name] else masked
    call = {**call, name: _like(call, name, mask)}
    return Probe(name, call, {key: _changed(key, value, masked) for key, value in call.items()}, masked)


def _bound(examination: Examination) -> dict[str, Any]:
    """Return the call as keyword arguments."""
    inputs = examination.question.inputs
    if isinstance(inputs, Mapping):
        return dict(inputs)
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    try:
        bound = inspect.signature(examination.module.forward).bind_partial(*args)
    except TypeError:
        raise NotApplicableError("the arguments of the call have no names") from None
    if any(isinstance(value, tuple) for value in bound.arguments.values()):
        raise NotApplicableError("the arguments of the call have no names")
    return dict(bound.arguments)


def _first(call: dict[str, Any]) -> Tensor:
    return next(tensor for tensor in call.values() if isinstance(tensor, Tensor))


def _real(given: Any, meaning: bool, tokens: Tensor) -> Tensor:
    """Return which tokens the call says are real, `[sample, time]`."""
    if given is None:
        return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    if not isinstance(given, Tensor) or given.shape != tokens.shape[:2]:
        raise NotApplicableError("the mask in the call is not one value per input token")
    if given.is_floating_point() and not meaning:
        return given >= 0
    return given.bool() if meaning else ~given.bool()


def _like(call: dict[str, Any], name: str, mask: Tensor) -> Tensor:
    """Return a mask in the form of the one in the call; torch wants all masks of a call in one dtype."""
    given = call.get(name)
    others = [value for key, value in call.items() if "mask" in key and isinstance(value, Tensor)]
    like = given if isinstance(given, Tensor) else next(iter(others), None)
    if name == "src_key_padding_mask" and like is not None and like.is_floating_point():
        return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
    if isinstance(given, Tensor):
        return mask.to(given.dtype)
    return mask.long() if name == "attention_mask" else mask


def _changed(name: str, value: Any, masked: Tensor) -> Any:
    """Return an argument with its masked tokens changed; other arguments as they are."""
    is_data = name not in _REAL and "mask" not in name and "position" not in name and "type" not in name
    if not is_data or not isinstance(value, Tensor) or value.shape[:2] != masked.shape:
        return value
    changed = value.clone()
    if value.is_floating_point():
        changed[masked] = value.flatten(2).mean() + 3 * value.std() if value.dim() > 2 else value[masked] + 1
    else:
        low, high = value.min(), value.max()
        changed[masked] = torch.where(value[masked] == low, high, low)
    return changed
