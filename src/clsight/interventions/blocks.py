"""What enters the submodule of a layer, so that the layer can be run again alone, also on other states."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from clsight.hooks.calls import tensors_in, with_tensors
from clsight.hooks.layers import OwnHook
from clsight.hooks.moving import sequence_in
from clsight.interventions.passes import Arguments, Passes
from clsight.interventions.plan import Plan, Site


@dataclass(frozen=True)
class _Entered:
    arguments: Arguments
    versions: list[int]

    @property
    def is_changed(self) -> bool:
        """Whether the submodule changed in place what it was called with."""
        return _versions(self.arguments) != self.versions


class BlockInputs:
    """Keep what submodules are called with, by name and run. Use as a context manager.

    Tensors are kept as they are, not copied: one that its submodule changes in place shows that.

    Args:
        passes: The model, entered.
        copied: Names of submodules whose tensors are copied, since they change them.
    """

    def __init__(self, passes: Passes, copied: Iterable[str] = ()) -> None:
        self._passes = passes
        self._copied = frozenset(copied)
        self._entered: dict[tuple[str, int], _Entered] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name, part in self._passes.parts.items():
                if next(part.children(), None) is None and type(part).__module__.startswith("torch.nn."):
                    continue
                hook = OwnHook(self._entering(name))
                stack.callback(part.register_forward_pre_hook(hook, with_kwargs=True).remove)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def keep_only(self, sites: Iterable[Site]) -> None:
        """Let go of what entered other submodules."""
        keys = {(site.module, site.run) for site in sites}
        self._entered = {key: entered for key, entered in self._entered.items() if key in keys}

    def changed(self, sites: Iterable[Site]) -> list[str]:
        """Return the names of submodules that changed in place what they were called with."""
        return [site.module for site in sites if self._entered[site.module, site.run].is_changed]

    def of(self, site: Site) -> Arguments:
        """Return what the submodule of a layer was called with."""
        return self._entered[site.module, site.run].arguments

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            with torch._C.DisableTorchFunction():
                arguments: Arguments = (args, dict(kwargs))
                if name in self._copied:
                    arguments = with_tensors(arguments, lambda tensor: tensor.clone())
                self._entered[name, self._passes.runs[name]] = _Entered(arguments, _versions(arguments))

        return enter


def with_cls_everywhere(arguments: Arguments, plan: Plan, tokens: int) -> Arguments | None:
    """Return the arguments with the state of CLS at every position, or None if they hold no sequence.

    Args:
        arguments: What the submodule was called with.
        plan: Tells where CLS stands.
        tokens: Length of the sequence.
    """
    samples = len(plan.position.index)
    sequence = sequence_in(arguments, tokens, samples)
    if sequence is None:
        return None
    width = sequence.shape[-1]

    def spread(tensor: Tensor) -> Tensor:
        states = sequence_in(tensor, tokens, samples)
        if states is None or states.shape[-1] != width or not tensor.is_floating_point():
            return tensor
        copies = torch.empty_like(tensor)
        view = sequence_in(copies, tokens, samples)
        assert view is not None
        view.copy_(plan.position.in_sequence(states)[:, None].expand_as(states))
        return copies

    spread_out: Arguments = with_tensors(arguments, spread)
    return spread_out


def _versions(value: Any) -> list[int]:
    return [tensor._version for tensor in tensors_in(value) if not tensor.is_inference()]
