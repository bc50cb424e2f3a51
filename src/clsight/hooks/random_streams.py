"""Passes that share one draw: every random stream that a module may draw from, at a known start.

Torch's own generators, those that submodules and strategies of [CLS] hold, NumPy's and Python's.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from clsight.cls_replacement import open_generators
from clsight.module_lock import lock_of


@contextmanager
def undisturbed(module: nn.Module, seed: int) -> Iterator[None]:
    """Run a block in eval mode with every random stream at a known start; all is as before afterwards.

    Only this thread works on the module meanwhile.
    """
    devices = _devices(module)
    generators = list(_generators(module))
    modes = {part: part.training for part in module.modules()}
    with lock_of(module), torch.random.fork_rng(devices=devices):
        states = [generator.get_state() for generator in generators]
        others = (np.random.get_state(), random.getstate())
        try:
            module.eval()
            for number, generator in enumerate([torch.default_generator, *generators]):
                generator.manual_seed(seed + 1000 * number)
            for device in devices:
                torch.cuda.default_generators[device.index or 0].manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            np.random.set_state(others[0])
            random.setstate(others[1])
            for part, training in modes.items():
                part.training = training


def stream_states(module: nn.Module) -> list[bytes]:
    """Return the states of all random streams that a module may draw from."""
    generators = [torch.default_generator, *_generators(module)]
    on_devices = [torch.cuda.default_generators[device.index or 0] for device in _devices(module)]
    states = [generator.get_state().numpy().tobytes() for generator in (*generators, *on_devices)]
    legacy: Any = np.random.get_state()
    return [*states, legacy[1].tobytes() + str(legacy[2:]).encode(), repr(random.getstate()).encode()]


def _devices(module: nn.Module) -> list[torch.device]:
    """Return the CUDA devices that the module lives on."""
    return sorted({part.device for part in module.parameters() if part.device.type == "cuda"}, key=str)


def _generators(module: nn.Module) -> Iterator[torch.Generator]:
    """Yield every random generator that a submodule holds, or from which another [CLS] is drawn for it."""
    yielded: list[torch.Generator] = []
    held = [value for part in module.modules() for value in vars(part).values()]
    for value in (*held, *open_generators(module)):
        if isinstance(value, torch.Generator) and not any(value is other for other in yielded):
            yielded.append(value)
            yield value
