"""Run a model once more with other states of its tokens: what enters or leaves one layer, replaced."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clsight.errors import CaptureError
from clsight.hooks.layers import named_parts
from clsight.hooks.watching import original_of
from clsight.interventions.opening import Opened
from clsight.interventions.sequences import Layout, sequences_of
from clsight.module_lock import lock_of

Change = Callable[[Tensor], Tensor]
"""From the states `[sample, token, channel]` to others of the same shape."""


@contextmanager
def rerun(opened: Opened, *, gradients: bool) -> Iterator[None]:
    """Run the module again inside the block: alone on it, without torch's native fast path."""
    with lock_of(original_of(opened.call.module)), torch.set_grad_enabled(gradients), _Passive():
        yield


class _Passive(TorchFunctionMode):
    """Pass everything through; while any such mode is entered, torch's native encoder path stays off."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def entering_changed(opened: Opened, layer: int, change: Change) -> Iterator[None]:
    """Replace what enters a layer inside the block."""
    part, run = _module_of(opened, layer)
    runs = [0]

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        runs[0] += 1
        if runs[0] - 1 != run:
            return None
        return _changed(opened, layer, (args, kwargs), change)

    with _hook(part.register_forward_pre_hook(before, with_kwargs=True)):
        yield


@contextmanager
def leaving_changed(opened: Opened, layer: int, change: Change) -> Iterator[None]:
    """Replace what leaves a layer inside the block."""
    part, run = _module_of(opened, layer)
    runs = [0]

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        runs[0] += 1
        return None if runs[0] - 1 != run else _changed(opened, layer, output, change)

    with _hook(part.register_forward_hook(after)):
        yield


@contextmanager
def _hook(handle: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()


def _module_of(opened: Opened, layer: int) -> tuple[nn.Module, int]:
    """Return the module of a layer, and in which of its runs in a forward pass it is that layer."""
    name, _, run = opened.layers[layer].name.partition("#")
    module = original_of(opened.call.module)
    part = named_parts(module).get("" if name == type(module).__name__ else name)
    assert part is not None
    return part, int(run or 0)


def _changed(opened: Opened, layer: int, value: Any, change: Change) -> Any:
    """Return nested tensors with the first sequence of states among them changed.

    Raises:
        CaptureError: If there is none.
    """
    call = opened.layers[layer].call
    done, result = _replace_first(value, samples=call.samples, tokens=call.tokens, change=change)
    if not done:
        raise CaptureError(
            opened.layers[layer].name,
            expected="a layer that takes and returns the states of its tokens",
            got="no sequence among what passes through it",
            next_step="Ask for a measure that changes no states, such as direct_logit_attribution",
        )
    return result


def _replace_first(value: Any, *, samples: int, tokens: int, change: Change) -> tuple[bool, Any]:
    """Return whether a sequence was found among nested tensors, and them with the first one changed."""
    if isinstance(value, Tensor):
        if value.dim() != 3 or not value.is_floating_point():
            return False, value
        layouts = next(sequences_of(value, samples=samples, tokens=tokens), None)
        return (False, value) if layouts is None else (True, _in_layout(change(layouts[1]), layouts[0]))
    items = list(value.items()) if isinstance(value, Mapping) else None
    if items is None and not isinstance(value, tuple | list):
        return False, value
    result: Any = copy.copy(value) if items is not None else list(value)
    for key, item in items if items is not None else enumerate(value):
        done, result[key] = _replace_first(item, samples=samples, tokens=tokens, change=change)
        if done:
            return True, tuple(result) if isinstance(value, tuple) else result
    return False, value


def _in_layout(sequence: Tensor, layout: Layout) -> Tensor:
    return sequence if layout == "sample, token" else sequence.transpose(0, 1)
