"""A look at a model in the middle of its training, which goes on as if nobody had looked."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import torch
import xarray as xr
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from clsight.errors import TrackingError
from clsight.hooks.calls import LogitsOf, first_tensor, with_tensors
from clsight.hooks.model_call import ModelCall
from clsight.hooks.random_streams import undisturbed
from clsight.hooks.single_call import record_of
from clsight.hooks.watching import original_of

_SEED: Final = 0


class Probe:
    """One model and the inputs that it is asked about again and again.

    Args:
        call: The model and its prepared inputs, of which a copy is kept.
        keep: What to keep, as for `clsight.capture`.
        output: From the module's output to its logits, as for `clsight.capture`.

    Raises:
        TrackingError: If the module is sharded over processes.
    """

    def __init__(self, call: ModelCall, *, keep: str | Iterable[str], output: LogitsOf) -> None:
        self.module = call.module
        _check_whole(self.module)
        inputs = dict(call.inputs) if isinstance(call.inputs, Mapping) else call.inputs
        copied = with_tensors(inputs, lambda tensor: tensor.detach().clone())
        self._call = replace(call, module=self.module, inputs=copied)
        self._keep, self._output = keep, output

    def record(self) -> xr.Dataset:
        """Return what CLS sees now, in eval mode, all draws beginning at the same start each time.

        Mode, random streams, gradients, buffers and attributes of the module are afterwards as before; not
        what its forward pass puts into lists or other objects of its own.

        Raises:
            CaptureError: As `clsight.capture`.
        """
        device = _device_of(self.module, self._call.inputs)
        inputs = with_tensors(self._call.inputs, lambda tensor: tensor.to(device, copy=True))
        with _attributes_kept(self.module), undisturbed(self.module, _SEED), _casts_not_cached(device.type):
            return record_of(replace(self._call, inputs=inputs), keep=self._keep, output=self._output)


def looked_at(module: nn.Module) -> nn.Module:
    """Return the module inside of `torch.compile` and `DistributedDataParallel`.

    The forward pass of the latter would wait for the other processes, which do not look.
    """
    module = original_of(module)
    return original_of(module.module) if isinstance(module, DistributedDataParallel) else module


def _check_whole(module: nn.Module) -> None:
    """Raise where this process has a part of the weights alone: its look would wait for the others."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    wrapped = any(isinstance(part, FullyShardedDataParallel) for part in module.modules())
    if wrapped or any(isinstance(weight, DTensor) for weight in module.parameters()):
        raise TrackingError(
            type(module).__name__,
            expected="a module whose weights are whole in one process",
            got="one that is sharded over processes",
            next_step="Train with DistributedDataParallel, or capture its saved checkpoints afterwards",
        )


def _device_of(module: nn.Module, inputs: Any) -> torch.device:
    """Return where the module is now: it may have moved since the inputs were prepared."""
    weight = next(module.parameters(), None)
    found = first_tensor(inputs) if weight is None else weight
    return torch.device("cpu") if found is None else found.device


@contextmanager
def _attributes_kept(module: nn.Module) -> Iterator[None]:
    """Give every submodule the attributes and buffers back that it had: a forward pass may set some."""
    parts = list(module.modules())
    attributes = [(part, dict(vars(part))) for part in parts]
    registered = [(part._buffers, dict(part._buffers)) for part in parts if part._buffers]
    own = [buffer for _, buffers in registered for buffer in buffers.values()]
    kept = [_Kept(buffer) for buffer in own if type(buffer) is Tensor and not buffer.is_inference()]
    try:
        yield
    finally:
        for part, before in attributes:
            for name in vars(part).keys() - before.keys():
                del vars(part)[name]
            vars(part).update(before)
        for now, buffers in registered:
            now.clear()
            now.update(buffers)
        for one in kept:
            one.restore()


class _Kept:
    """A buffer, and what it held."""

    def __init__(self, buffer: Tensor) -> None:
        self._buffer, self._version, self._values = buffer, buffer._version, buffer.detach().clone()

    def restore(self) -> None:
        """Put the values back if anything was written since."""
        if self._buffer._version != self._version:
            with torch.no_grad():
                self._buffer.copy_(self._values)


@contextmanager
def _casts_not_cached(device: str) -> Iterator[None]:
    """Keep autocast as it is, but for its cache: a cast made without gradients would serve the training."""
    if not torch.is_autocast_enabled(device):
        yield
        return
    with torch.autocast(device, dtype=torch.get_autocast_dtype(device), cache_enabled=False):
        yield
