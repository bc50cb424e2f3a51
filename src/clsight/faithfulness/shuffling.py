"""The parts of a model from its head down, and their weights in random order for the length of a block."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clsight.hooks.model_call import ModelCall
from clsight.hooks.random_streams import undisturbed
from clsight.hooks.watching import original_of
from clsight.module_lock import lock_of

BEFORE = "before the first layer"
"""The unit of all that runs before the first layer: embeddings, positions, the vector of [CLS]."""


@dataclass(frozen=True)
class Unit:
    """A part of a model whose weights are shuffled at once.

    Attributes:
        name: A layer or a submodule by name, or `BEFORE`.
        tensors: Its parameters.
    """

    name: str
    tensors: tuple[Tensor, ...]


def units_of(call: ModelCall, layers: Sequence[str], *, seed: int) -> list[Unit]:
    """Return the units of a model, the last that runs first.

    Args:
        call: The module and inputs; it is run once.
        layers: Names of the layers, as in a record.
        seed: Start of the random streams.
    """
    module = original_of(call.module)
    entered = _entered(call, module, seed)
    names = sorted({name.partition("#")[0] for name in layers}, key=len, reverse=True)
    first = min((entered[name] for name in names if name in entered), default=0)
    owned: dict[str, list[Tensor]] = {}
    times: dict[str, int] = {}
    for owner, part in module.named_modules():
        tensors = [one for one in part.parameters(recurse=False) if one.is_floating_point()]
        if not tensors:
            continue
        inside = next((name for name in names if owner == name or owner.startswith(f"{name}.")), None)
        time = _time(inside or owner, entered)
        unit = inside or (owner if time > first else BEFORE)
        owned.setdefault(unit, []).extend(tensors)
        times[unit] = -1 if unit == BEFORE else time
    order = sorted(owned, key=lambda unit: times[unit], reverse=True)
    return [Unit(name, tuple(owned[name])) for name in order]


@contextmanager
def shuffling(module: nn.Module, seed: int) -> Iterator[Callable[[Unit], None]]:
    """Give a function that puts the weights of a unit in random order; all are put back at the end.

    Each tensor keeps its own entries, so that their sizes stay as they were; what they had learned is gone.
    Afterwards, also after an error, every weight is what it was, bit for bit. This thread alone works on the
    module meanwhile.

    Args:
        module: The module.
        seed: Of the order.
    """
    saved: dict[int, tuple[Tensor, Tensor]] = {}

    def shuffle(unit: Unit) -> None:
        for tensor in unit.tensors:
            if id(tensor) in saved:  # shared with a unit that was shuffled before
                continue
            number = len(saved)
            saved[id(tensor)] = (tensor, tensor.detach().clone())
            order = np.random.default_rng([seed, number]).permutation(tensor.numel())
            index = torch.from_numpy(order).to(tensor.device)
            with torch.no_grad():
                tensor.copy_(tensor.detach().reshape(-1)[index].reshape(tensor.shape))

    with lock_of(module):
        try:
            yield shuffle
        finally:
            with torch.no_grad():
                for tensor, before in saved.values():
                    tensor.copy_(before)


def _entered(call: ModelCall, module: nn.Module, seed: int) -> dict[str, int]:
    """Return when each submodule was first entered in one pass, by name."""
    entered: dict[str, int] = {}
    with ExitStack() as stack:
        for name, part in module.named_modules():
            handle = part.register_forward_pre_hook(_noting(name, entered))
            stack.callback(handle.remove)
        stack.enter_context(undisturbed(module, seed))
        stack.enter_context(torch.no_grad())
        call.run()
    return entered


def _noting(name: str, entered: dict[str, int]) -> Callable[[nn.Module, Any], None]:
    def note(module: nn.Module, args: Any) -> None:
        entered.setdefault(name, len(entered))

    return note


def _time(name: str, entered: dict[str, int]) -> int:
    """Return when a submodule was entered, or what holds it: its weights may be read without a call."""
    while name not in entered and name:
        name = name.rpartition(".")[0]
    return entered.get(name, 0)
