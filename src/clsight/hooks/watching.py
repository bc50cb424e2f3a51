"""Watch one module while it runs, in this thread and under its lock: attention, linear maps, submodules."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from clsight.errors import CaptureError
from clsight.hooks.interception import AttentionMode, Watch
from clsight.hooks.layers import ModulePath, named_parts, scripted_parts
from clsight.hooks.operations import AttentionCall, Skipped
from clsight.module_lock import lock_of

_SILENT = (
    "ran without an attention call that could be seen, unlike its siblings: it is missing from the layers"
)
_SCRIPTED = "ran as scripted or traced code: attention inside is not seen"
_UNCOMPILED = (
    "Compiled parts ran uncompiled during the capture, in other threads too: torch.compiler.set_stance "
    "holds for the whole process"
)


def _no_batch() -> tuple[int, ...]:
    return ()


def _ignore(*_: Any) -> None:
    """Hear nothing."""


@dataclass(frozen=True)
class Listeners:
    """Who wants to know of what a module does.

    Attributes:
        on_attention: Called after each attention operation with the running modules, outermost first; what it
            returns, unless None, is what the model goes on with, laid out as the call's `raw_output`.
        on_linear: Called after each linear map with its input and weight.
        on_leave: Called after each submodule that may hold attention, with its name, inputs and output.
        sizes: The sizes that the batch of the running forward may have; empty if unknown.
    """

    on_attention: Callable[[AttentionCall | Skipped, tuple[str, ...]], Tensor | None] = _ignore
    on_linear: Callable[[Tensor, Tensor], None] = _ignore
    on_leave: Callable[[str, Any, Any], None] = _ignore
    sizes: Callable[[], tuple[int, ...]] = _no_batch


class Watching:
    """Tell listeners what a module does, inside a `with` block; the module is left as it was.

    Args:
        module: The module whose Python code runs.
        listeners: Who wants to know.

    Attributes:
        path: The submodules that are running.
    """

    def __init__(self, module: nn.Module, listeners: Listeners) -> None:
        self._module = module
        self._listeners = listeners
        self._exit = ExitStack()
        self.path = ModulePath({})
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(lock_of(self._module))
            compiled = is_compiled(self._module)
            if compiled:  # its attention is seen only in Python code; this holds for the whole process
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            parts = named_parts(self._module)
            scripted = [f"`{name}`" for name in scripted_parts(parts)]
            self._notes = [f"{', '.join(scripted)} {_SCRIPTED}"] if scripted else []
            self._notes += [_UNCOMPILED] if compiled else []
            self.path = stack.enter_context(ModulePath(parts, on_leave=self._listeners.on_leave))
            watch = Watch(
                on_attention=self._on_attention,
                on_linear=self._listeners.on_linear,
                is_active=lambda: self.path.is_running,
                sizes=self._listeners.sizes,
            )
            stack.enter_context(AttentionMode(watch))
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def notes_on(self, paths: Sequence[tuple[str, ...]]) -> list[str]:
        """Return what a reader should know of how the module ran.

        Args:
            paths: The modules that were running at each attention call of the forward pass.
        """
        silent = [f"`{name}`" for name in self.path.silent_siblings_of(paths)]
        return self._notes + ([f"{', '.join(silent)} {_SILENT}"] if silent else [])

    def _on_attention(self, call: AttentionCall | Skipped) -> Tensor | None:
        return self._listeners.on_attention(call, self.path.names)


def original_of(module: nn.Module) -> nn.Module:
    """Return the module whose Python code runs: inside `torch.compile`; scripted modules are refused.

    Raises:
        CaptureError: If the module is scripted.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise CaptureError(
            type(module).__name__,
            expected="a module whose forward is Python code",
            got="a scripted module, which runs no hooks",
            next_step="Pass the module that was scripted",
        )
    original = getattr(module, "_orig_mod", module)
    assert isinstance(original, nn.Module)
    return original


def is_compiled(module: nn.Module) -> bool:
    """Tell whether any part of the module was compiled."""
    return any(
        "_orig_mod" in part._modules or part._compiled_call_impl is not None for part in module.modules()
    )
