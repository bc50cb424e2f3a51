"""What is changed on trial: a tensor that may hold [CLS], or what enters a layer at [CLS]."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def shifted(values: Tensor) -> Iterator[None]:
    """Add noise of its own size to a tensor for the length of a block; it is equal bit for bit afterwards."""
    saved = values.detach().clone()
    size = float(saved.float().square().mean().sqrt()) or 1.0
    with torch.no_grad():
        values.add_(size * noise_like(saved))
        try:
            yield
        finally:
            values.copy_(saved)


def noise_like(tensor: Tensor) -> Tensor:
    """Return standard normal numbers in the shape of a tensor, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tensor.shape, generator=generator, device="cpu").to(tensor)


@contextmanager
def added(module: nn.Module, noise: Tensor) -> Iterator[None]:
    """Add noise to the sequence that a module is called with, at its first run, for the length of a block."""
    done: list[bool] = []

    def add(value: Any) -> Any:
        changed = value if done or not isinstance(value, Tensor) else plus(value, noise)
        if changed is not value:
            done.append(True)
        return changed

    def enter(part: nn.Module, args: Any, kwargs: Any) -> Any:
        return tuple(add(value) for value in args), {name: add(value) for name, value in kwargs.items()}

    handle = module.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def plus(value: Tensor, noise: Tensor) -> Tensor:
    """Return a sequence plus `[sample, token, channel]`, tokens or samples first; another tensor as it is."""
    if value.shape == noise.shape:
        return value + noise
    return value + noise.transpose(0, 1) if value.shape == noise.transpose(0, 1).shape else value
