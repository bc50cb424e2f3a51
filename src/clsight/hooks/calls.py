"""How is the module called, where is CLS, which tokens are real, and what are the logits?"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.hooks.operations import AttentionCall, unfold_mask

_MINUS_INFINITY = -9e3  # a model that adds −10,000 to scores may bring them a little above it

_NO_LOGITS = "the model does not classify: what it returns is no score for each class"

LogitsOf = Callable[[Any], Tensor] | Literal[False] | None
Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


def call_module(module: nn.Module, inputs: Inputs) -> Any:
    """Call `module(x)`, `module(*inputs)` or `module(**inputs)`, by the type of `inputs`."""
    args, kwargs = arguments_of(inputs)
    return module(*args, **kwargs)


def arguments_of(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the named arguments that a module is called with."""
    if isinstance(inputs, Tensor):
        return (inputs,), {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return tuple(inputs), {}


def check_inputs(inputs: object) -> None:
    """Refuse inputs that are no tensor, tuple or mapping, and empty batches.

    Raises:
        CaptureError: With what was expected and got.
    """
    if not isinstance(inputs, (Tensor, tuple, list, Mapping)):
        raise CaptureError(
            "inputs",
            expected="a tensor, a tuple or list of positional arguments, or a mapping of keyword arguments",
            got=f"a {type(inputs).__name__}",
            next_step="Turn the data into tensors, as in torch.as_tensor(array), or pass what clsight.load "
            "or clsight.subject_of returns, which prepares data",
        )
    refuse_nested(inputs)
    first = first_tensor(inputs)
    if first is not None and first.dim() > 0 and first.shape[0] == 0:
        raise CaptureError(
            "inputs",
            expected="at least one sample",
            got=f"an empty batch of shape {tuple(first.shape)}",
            next_step="Pass one sample or more",
        )


def first_tensor(inputs: object) -> Tensor | None:
    """Return the first tensor among the inputs, by position or by name."""
    return next(tensors_in(inputs), None)


def batch_sizes(inputs: object) -> tuple[int, ...]:
    """Return the sizes the batch may have: the first size of the first tensor with two dimensions or more.

    Where tokens come first, the batch is the second size.

    Raises:
        CaptureError: If a tensor is nested: its samples have no common length.
    """
    refuse_nested(inputs)
    first = next((tensor for tensor in tensors_in(inputs) if tensor.dim() > 1), None)
    return () if first is None else tuple(first.shape[:2])


def refuse_nested(inputs: object) -> None:
    """Refuse nested tensors, whose samples have no common length.

    Raises:
        CaptureError: If there is one among the inputs.
    """
    if any(tensor.is_nested for tensor in tensors_in(inputs)):
        raise CaptureError(
            "inputs",
            expected="tensors whose samples are equally long",
            got="a nested tensor",
            next_step="Pad it with torch.nested.to_padded_tensor, and pass the mask of real tokens",
        )


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield every tensor in nested mappings, tuples and lists, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return nested tuples, lists and dicts with every tensor changed, the same tensor always alike."""
    known: dict[int, Tensor] = {}

    def walk(part: Any) -> Any:
        if isinstance(part, Tensor):
            if id(part) not in known:
                known[id(part)] = change(part)
            return known[id(part)]
        if type(part) in (tuple, list):
            return type(part)(walk(item) for item in part)
        return {key: walk(item) for key, item in part.items()} if type(part) is dict else part

    return walk(value)


def resolve_cls_index(cls_index: int | Sequence[int] | Tensor, call: AttentionCall) -> Tensor:
    """Return the position of CLS in each sample of one attention call: `[sample]`, int64, 0 ≤ index < tokens.

    Args:
        cls_index: One position for all samples, negative from the end, or one per sample.
        call: The attention call, whose keys are the tokens.

    Raises:
        CaptureError: If a position lies outside the sequence, or their number is not the number of samples.
    """
    if isinstance(cls_index, bool | str | float | None):
        raise CaptureError(
            "cls_index",
            expected="an integer, or one per sample",
            got=repr(cls_index),
            next_step="Pass the position of CLS in the sequence that the encoder sees",
        )
    try:
        index = torch.as_tensor(cls_index, device=call.query.device)
    except (TypeError, ValueError, RuntimeError):
        index = torch.empty(0)
    if index.dim() == 0:
        index = index.expand(call.samples)
    if index.shape != (call.samples,) or index.is_floating_point():
        raise CaptureError(
            "cls_index",
            expected=f"one integer, or one per sample (sample={call.samples})",
            got=f"shape {tuple(index.shape)} of {index.dtype}" if index.numel() else repr(cls_index),
            next_step="Pass an integer if CLS stands at the same place in every sample",
        )
    tokens = call.tokens
    if tokens == 0:
        raise CaptureError(
            "inputs",
            expected="at least one token",
            got="an empty sequence",
            next_step="Pass one token or more",
        )
    if bool(((index < -tokens) | (index >= tokens)).any()):
        raise CaptureError(
            "cls_index",
            expected=f"a position between {-tokens} and {tokens - 1}",
            got=str(cls_index if isinstance(cls_index, int) else index.tolist()),
            where=f"The encoder sees {tokens} tokens",
            next_step="Pass the position of CLS in the sequence that the encoder sees",
        )
    return index.to(torch.int64) % tokens


def stated_token_mask(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return the `[sample, token]` mask (True = real token) that the caller gave to the module, or None.

    Read from the arguments `token_mask`, `attention_mask` (1 = real, or additive: below 0 = padding) and
    `src_key_padding_mask` (True or −inf = padding), given by name or by position. Masks with other dimensions
    say more than which tokens are real and are left to the attention operation.
    """
    try:
        given = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
    except TypeError:  # the call itself will tell what does not fit
        return None
    given = {**given, **given.get("kwargs", {})} if isinstance(given.get("kwargs"), dict) else given
    for name in ("token_mask", "attention_mask", "src_key_padding_mask"):
        mask = given.get(name)
        if isinstance(mask, Tensor) and mask.dim() == 2:
            is_additive = mask.is_floating_point() and bool((mask < 0).any())
            padding = name == "src_key_padding_mask" or is_additive
            return ~_is_padding(mask) if padding else mask.bool()
    return None


def _is_padding(mask: Tensor) -> Tensor:
    return mask < 0 if mask.is_floating_point() else mask.bool()


def fit_token_mask(mask: Tensor, *, samples: int, tokens: int, cls_index: Tensor | None) -> Tensor:
    """Return the mask for the sequence that the encoder sees: `[sample, token]`, True = real token.

    A model that adds CLS (and registers) itself gets a mask without them in its call: the missing tokens are
    real and stand on the side where CLS stands.

    Args:
        mask: `[sample, token]`, perhaps without the tokens that the model adds.
        samples: Number of samples.
        tokens: Number of tokens that the encoder sees.
        cls_index: `[sample]`, position of CLS; None if the mask must fit as it is.

    Raises:
        CaptureError: If the mask fits neither the sequence nor the sequence without the added tokens.
    """
    missing = tokens - mask.shape[1] if mask.dim() == 2 else -1
    if mask.dim() == 2 and mask.shape[0] == samples and missing >= 0:
        added = mask.new_ones(samples, missing)
        if missing == 0 or (cls_index is not None and bool((cls_index < missing).all())):
            return torch.cat([added, mask], dim=1)
        if cls_index is not None and bool((cls_index >= tokens - missing).all()):
            return torch.cat([mask, added], dim=1)
    raise CaptureError(
        "token_mask",
        expected=f"shape (sample={samples}, token={tokens}), True for real tokens",
        got=f"shape {tuple(mask.shape)}",
        next_step="Pass a mask for the sequence that the encoder sees, CLS included",
    )


def attended_keys(call: AttentionCall) -> Tensor:
    """Return which keys some query may attend to, `[sample, key]`: what the operation takes for real."""
    if call.scores is not None:
        allowed = _above_masked(call.scores)
    elif call.mask is not None:
        mask = unfold_mask(call.mask.detach(), samples=call.samples, heads=call.heads)
        allowed = mask if mask.dtype == torch.bool else _above_masked(mask)
    else:
        return torch.ones(call.samples, call.keys, dtype=torch.bool, device=call.query.device)
    return allowed.any(dim=1).any(dim=1).expand(call.samples, call.keys)


def _above_masked(scores: Tensor) -> Tensor:
    """Tell −inf and the finite "minus infinity" of many code bases, such as −10,000, from what can count."""
    return ~(scores <= _MINUS_INFINITY)


def find_logits(output: Any, samples: int) -> tuple[Tensor | None, str]:
    """Return the model's logits `[sample, class]`, or None with the reason.

    The rule: `output.logits`, else `output["logits"]`, else the output's single `[sample, class]` tensor that
    is not named as pooled states.
    """
    named = getattr(output, "logits", None)
    if named is None and isinstance(output, Mapping):
        named = output.get("logits")
    if isinstance(named, Tensor) and named.dim() == 2:
        return named, ""
    if isinstance(output, Mapping):
        output = {name: value for name, value in output.items() if "pool" not in name}
    found = [tensor for tensor in tensors_in(output) if tensor.dim() == 2 and tensor.shape[0] == samples]
    if len(found) == 1 and found[0].is_floating_point():
        return found[0], ""
    return (
        None,
        f"the output holds {len(found) or 'no'} tensors of shape [sample, class], where one is expected",
    )


def logits_of(output: Any, samples: int, function: LogitsOf) -> tuple[Tensor | None, str]:
    """Return the logits `[sample, class]` in a module's output and no reason, or None and why.

    Args:
        output: What the module returned.
        samples: Size of the batch.
        function: From the output to its logits; None to find them by the rule of `find_logits`; False where
            there are none, whatever its shape.

    Raises:
        CaptureError: If the function fails, or gives something else.
    """
    if function is None:
        return find_logits(output, samples)
    if function is False:
        return None, _NO_LOGITS
    try:
        logits = function(output)
    except Exception as error:
        raise CaptureError(
            "output",
            expected="a function from the module's output to its logits",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            next_step="Try the function on the output of a plain forward pass",
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != samples:
        raise CaptureError(
            "output",
            expected=f"a function that returns logits of shape (sample={samples}, class)",
            got=str(tuple(logits.shape)) if isinstance(logits, Tensor) else type(logits).__name__,
            next_step="Return one row of logits per sample",
        )
    return logits, ""
