"""What a forward pass wants beside its input, where that is a mask of padding or the lengths of samples."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

Form = Literal["lengths", "ones", "true", "false"]
"""Steps of each sample, `[sample]`; or `[sample, time]`: 1, True or False where a token is real."""


@dataclass(frozen=True)
class Argument:
    """A further argument of a forward pass.

    Attributes:
        name: Of the parameter.
        form: How it tells which tokens are real.
    """

    name: str
    form: Form

    def value(self, is_real: Tensor) -> Tensor:
        """Return the argument for tokens that are real or padding, bool `[sample, time]`."""
        if self.form == "lengths":
            return is_real.sum(dim=1)
        if self.form == "ones":
            return is_real.long()
        return is_real if self.form == "true" else ~is_real


def further_arguments(module: nn.Module) -> Iterator[tuple[Argument, ...]]:
    """Yield the ways to give what the module's forward pass needs, the likeliest first.

    One empty way where it needs nothing beside its input; no way where a name is not understood.
    """
    needed = _needed(module)
    for chosen in product(*(_forms(name) for name in needed)):
        yield tuple(Argument(name, form) for name, form in zip(needed, chosen, strict=True))


def unknown_arguments(module: nn.Module) -> list[str]:
    """Return the names of what the module's forward pass needs, and nothing here can give."""
    return [name for name in _needed(module) if not _forms(name)]


def _needed(module: nn.Module) -> list[str]:
    """Return the names of the arguments without a default, but for the first."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional and each.default is each.empty][1:]


def _forms(name: str) -> tuple[Form, ...]:
    """Return the forms that an argument of this name may have; believed where the module hears its input."""
    lower = name.lower()
    if "mask" in lower:
        return ("false", "true", "ones") if "pad" in lower else ("ones", "true", "false")
    return ("lengths",) if "len" in lower else ()


def all_real(samples: int, time: int, like: Tensor) -> Tensor:
    """Return that every token is real, bool `[sample, time]`, on the device of `like`."""
    return torch.ones(samples, time, dtype=torch.bool, device=like.device)
