"""Inputs with a token masked, and the same with that token changed: does a model honor its mask?"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
import xarray as xr
from torch import Tensor

from clsight.doctor.examination import Examination, NotApplicableError

_REAL: Final = {
    "token_mask": True,
    "attention_mask": True,
    "src_key_padding_mask": False,
    "key_padding_mask": False,
}
"""The names of masks that calls have, and the value that means a real token."""
_EITHER: Final = ("mask", "padding_mask", "pad_mask")
"""Names under which either value may mean a real token."""
VISIBLE: Final = 1e-6
"""Weight above which a token is seen."""


@dataclass(frozen=True)
class Probe:
    """Two calls that differ only in what a mask hides.

    Attributes:
        name: The name of the mask in the call.
        inputs: The call with one more token masked in each sample, where [CLS] sees one.
        changed: The same with the masked tokens changed.
        hidden: `[sample, token]`, True = masked, in the sequence that the encoder sees.
        is_between: Whether real tokens stand behind one masked on trial, so that it is no padding at the end.
    """

    name: str
    inputs: dict[str, Any]
    changed: dict[str, Any]
    hidden: xr.DataArray
    is_between: bool


def masks_of(examination: Examination) -> dict[str, tuple[bool, ...]]:
    """Return the names of the masks that a call has, each with the values that may mean a real token.

    Raises:
        NotApplicableError: If it has none that is known, or the inputs are no sequence.
    """
    call = _bound(examination)
    parameters = inspect.signature(examination.module.forward).parameters
    known = [name for name in _REAL if name in parameters or name in call]
    named = {name: (_REAL[name],) for name in known if name == known[0] or _is_mask(call, name)}
    # Beside a mask of padding, torch's `mask` is that of queries and keys.
    is_torch = any(name.endswith("key_padding_mask") for name in parameters)
    either = [name for name in _EITHER if _is_mask(call, name) and not (is_torch and name == "mask")]
    if not named and not either:
        raise NotApplicableError(
            f"the call has no argument {', '.join(f'`{name}`' for name in (*_REAL, *_EITHER))}"
        )
    if examination.input_tokens is None or examination.samples != _first(call).shape[0]:
        raise NotApplicableError("the inputs are no batch of sequences")
    return named | dict.fromkeys(either, (True, False))


def mask_probe(examination: Examination, name: str, *, means_real: bool) -> Probe:
    """Return the probe for a mask of the call.

    Masked on trial is the last token that [CLS] sees, itself left out. Where [CLS] stands last, or nothing
    sees ahead, that may be a token with others behind it.

    Args:
        examination: Of the model.
        name: A name from `masks_of`.
        means_real: The value that means a real token.

    Raises:
        NotApplicableError: If the mask is not one value per token, or no token can be masked.
    """
    call = _bound(examination)
    first = _first(call)
    real = _real(call.get(name), means_real, name, first)
    offset = _offset(examination)
    place = examination.positions.to(real.device) - offset
    is_cls = torch.arange(real.shape[1], device=real.device) == place[:, None]
    free = real & ~is_cls & _seen(examination, offset).to(real.device) & (real.sum(1, keepdim=True) > 1)
    trial = free & (free.flip(1).cumsum(1).flip(1) == 1)  # the last of each sample
    if not bool(trial.any()):
        raise NotApplicableError("[CLS] sees no token that could be masked on trial")
    masked = ~real | trial
    call = {**call, name: _like(call, name, ~masked if means_real else masked)}
    usual = real & ~is_cls
    if first.dim() == 2:  # what stands for [CLS] may tell a model where to read its answer off
        usual &= ~torch.isin(first, first[is_cls])
    changed = {key: _changed(key, value, masked, usual) for key, value in call.items()}
    is_between = bool((real & (trial.cumsum(1) > 0) & ~trial).any())
    return Probe(name, call, changed, _in_sequence(examination, masked, offset), is_between)


def _offset(examination: Examination) -> int:
    """Return where the input begins in the sequence that the encoder sees: behind [CLS], or before it."""
    assert examination.input_tokens is not None
    added = examination.tokens - examination.input_tokens
    is_behind = added > 0 and bool((examination.positions >= examination.input_tokens).all())
    return 0 if is_behind else added


def _seen(examination: Examination, offset: int) -> Tensor:
    """Return which tokens of the input [CLS] sees in any layer and head, `[sample, time]`."""
    weights = examination.record["attends_to"].max(["layer", "head"]).transpose("sample", "token")
    assert examination.input_tokens is not None
    return torch.as_tensor(weights.values > VISIBLE)[:, offset : offset + examination.input_tokens]


def _in_sequence(examination: Examination, masked: Tensor, offset: int) -> xr.DataArray:
    hidden = torch.zeros(examination.samples, examination.tokens, dtype=torch.bool)
    hidden[:, offset : offset + masked.shape[1]] = masked.cpu()
    return xr.DataArray(hidden.numpy(), dims=("sample", "token"))


def _is_mask(call: dict[str, Any], name: str) -> bool:
    """Tell whether an argument holds true or false, or 1 or 0, for each token."""
    given = call.get(name)
    if not isinstance(given, Tensor) or given.shape != _first(call).shape[:2]:
        return False
    return name in _REAL or bool(((given == 0) | (given == 1)).all())


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


def _real(given: Any, means_real: bool, name: str, tokens: Tensor) -> Tensor:
    """Return which tokens the call says are real, `[sample, time]`."""
    if given is None:
        return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    if not isinstance(given, Tensor) or given.shape != tokens.shape[:2]:
        raise NotApplicableError("the mask in the call is not one value per input token")
    if _is_additive(given, name):
        return given >= 0
    return given.bool() if means_real else ~given.bool()


def _is_additive(mask: Tensor, name: str) -> bool:
    """Tell whether a mask is added to the scores: 0 at real tokens, below 0 at others."""
    if not mask.is_floating_point():
        return False
    return name.endswith("key_padding_mask") or bool((mask < 0).any())


def _like(call: dict[str, Any], name: str, mask: Tensor) -> Tensor:
    """Return a mask in the form of the one in the call; torch wants all masks of a call in one dtype."""
    given = call.get(name)
    others = [value for key, value in call.items() if "mask" in key and isinstance(value, Tensor)]
    like = given if isinstance(given, Tensor) else next(iter(others), None)
    if like is not None and _is_additive(like, name):
        masked = mask if name.endswith("key_padding_mask") else ~mask
        return torch.zeros_like(masked, dtype=like.dtype).masked_fill(masked, float("-inf"))
    if isinstance(given, Tensor):
        return mask.to(given.dtype)
    return mask.long() if name == "attention_mask" else mask


def _changed(name: str, value: Any, masked: Tensor, usual: Tensor) -> Any:
    """Return an argument with its masked tokens changed, ids to those of usual tokens; others as they are."""
    is_data = name not in _REAL and "mask" not in name and "position" not in name and "type" not in name
    if not is_data or not isinstance(value, Tensor) or value.shape[:2] != masked.shape:
        return value
    changed = value.clone()
    if value.is_floating_point():
        changed[masked] = value.flatten(2).mean() + 3 * value.std() if value.dim() > 2 else value[masked] + 1
    else:
        known = value[usual] if bool(usual.any()) else value
        low, high = known.min(), known.max()
        changed[masked] = torch.where(value[masked] == low, high, low)
    return changed
