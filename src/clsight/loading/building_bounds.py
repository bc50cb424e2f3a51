"""A model whose size a file states is built without memory first, and only as far as its weights go."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

_LARGEST_BUFFERS: Final = 2**26  # elements that a model may compute for itself: tables of positions


class TooLargeError(Exception):
    """A model asks for more than its file can hold: `what`, as a message names it."""


@dataclass
class _Count:
    parts: int = 0
    tensors: int = 0
    numbers: int = 0
    buffers: int = 0


@contextmanager
def within_bounds(*, tensors: int, numbers: int) -> Iterator[None]:
    """Build modules inside the block, in this thread, on the meta device: without memory, but counted.

    Torch's random state is as before afterwards.

    Args:
        tensors: How many tensors the file holds; the module may have about four times as many.
        numbers: How many numbers they hold; the module may have about twice as many.

    Raises:
        TooLargeError: As soon as the module has more.
    """
    thread, count = threading.get_ident(), _Count()

    def counting(add: Callable[[Any], None]) -> Callable[[nn.Module, str, Any], None]:
        def hook(module: nn.Module, name: str, value: Any) -> None:
            if threading.get_ident() == thread and value is not None:
                add(value)
                _check(count, tensors, numbers)

        return hook

    def add_parameter(value: torch.Tensor) -> None:
        count.tensors += 1
        count.numbers += value.numel()

    def add_buffer(value: torch.Tensor) -> None:
        count.buffers += value.numel()

    def add_part(value: nn.Module) -> None:
        count.parts += 1

    handles = (
        register_module_parameter_registration_hook(counting(add_parameter)),
        register_module_buffer_registration_hook(counting(add_buffer)),
        register_module_module_registration_hook(counting(add_part)),
    )
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _check(count: _Count, tensors: int, numbers: int) -> None:
    if count.tensors > 4 * tensors + 1000 or count.parts > 40 * tensors + 10_000:
        raise TooLargeError(f"more layers than its {tensors:,} tensors are for")
    if count.numbers > 2 * numbers + 1_000_000:
        raise TooLargeError(f"at least {count.numbers:,} numbers")
    if count.buffers > _LARGEST_BUFFERS + numbers:
        raise TooLargeError(f"tables of {count.buffers:,} numbers")
