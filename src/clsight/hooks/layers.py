"""Which layer is running when an attention call happens, and what is it called?

Forward hooks keep the path of modules that are running now. A layer's name is the shortest module path that
no other attention call shares: `encoder.layers.2`, `blocks.2`, `block#3` when one module runs several times.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from threading import get_ident
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

_WRAPPED = frozenset(["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
"""What torch.compile, FSDP and activation checkpointing call the module inside their wrapper."""


class OwnHook:
    """A hook that belongs to one module: a copy of the module, or its pickle, gets one that does nothing."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        """Do what the hook does."""
        self._call(*args)

    def __reduce__(self) -> Any:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _nothing


def _nothing(*_: Any) -> None:
    """Stand in a copied module for the hook of the original."""


class _Run(NamedTuple):
    """One module that is running now, and the tensor it was called with if that was all."""

    name: str
    module: nn.Module
    only_input: Any


class ModulePath:
    """The path of running submodules of one module, in the thread that entered it.

    Use as a context manager: leaving removes every hook, also after an exception. Modules of torch that hold
    no other module, such as linear maps and norms, run no attention and get no hooks.

    Args:
        parts: Every submodule by name, as `named_parts` gives them; "" is the whole module.
        on_leave: Called with the name, the inputs and the output of each submodule that has run.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        *,
        on_leave: Callable[[str, Any, Any], None] = lambda *_: None,
    ) -> None:
        self._parts = parts
        self._on_leave = on_leave
        self._running: list[_Run] = []
        self._handles: list[RemovableHandle] = []
        self._thread = 0
        self._ran: dict[str, None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modules that are running now, outermost first; "" is the whole module."""
        return tuple(run.name for run in self._running)

    @property
    def is_running(self) -> bool:
        """Whether the whole module's forward is running, called in this thread."""
        return bool(self._running) and self.is_own_thread

    @property
    def is_own_thread(self) -> bool:
        """Whether this code runs in the thread that entered the path."""
        return get_ident() == self._thread

    def silent_siblings_of(self, paths: Iterable[tuple[str, ...]]) -> list[str]:
        """Return numbered modules that ran and made none of these calls, though siblings of their type did.

        Args:
            paths: The modules that were running at each attention call.
        """
        heard = {name for path in paths for name in path}
        kinds = {self._kind(name) for name in heard} - {None}
        return [name for name in self._ran if name not in heard and self._kind(name) in kinds]

    def _kind(self, name: str) -> tuple[str, type] | None:
        """Return parent and type of a numbered module, None for others and for containers of torch."""
        parent, _, own = name.rpartition(".")
        kind = type(self._parts[name])
        return (
            (parent, kind)
            if own.isdigit() and not kind.__module__.startswith("torch.nn.modules.con")
            else None
        )

    def receivers_of(self, features: Tensor) -> list[nn.Module]:
        """Return the running modules that were called with this tensor and nothing else, outermost first.

        An adapter (LoRA) around a linear map is called with what it hands to the map inside.
        """
        receivers: list[nn.Module] = []
        for run in reversed(self._running):
            if run.only_input is not features:
                break
            receivers.insert(0, run.module)
        return receivers

    def __enter__(self) -> Self:
        self._thread = get_ident()
        for name, module in self._parts.items():
            if _can_attend(module):
                entering, leaving = OwnHook(self._entering(name)), OwnHook(self._leaving(name))
                self._handles.append(module.register_forward_pre_hook(entering, with_kwargs=True))
                self._handles.append(module.register_forward_hook(leaving, with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running.clear()

    def _entering(self, name: str) -> Any:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            if self.is_own_thread:
                if name == "":  # what an exception left of an earlier forward pass
                    self._running.clear()
                    self._ran.clear()
                only_input = args[0] if len(args) == 1 and not kwargs else None
                self._running.append(_Run(name, module, only_input))

        return enter

    def _leaving(self, name: str) -> Any:
        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if self.is_own_thread:
                # A submodule whose exception the model caught never left: drop it too.
                while self._running and self._running.pop().name != name:
                    pass
                self._ran[name] = None
                self._on_leave(name, (args, kwargs), output)

        return leave


def named_parts(module: nn.Module) -> dict[str, nn.Module]:
    """Return every submodule by its owner's name for it, without what compiling or sharding put between."""
    parts: dict[str, nn.Module] = {}
    for name, part in module.named_modules():
        own = _own_words(name) if any(wrapped in name for wrapped in _WRAPPED) else name
        if own or not parts:  # the root stays the outermost, of others the innermost counts
            parts[own] = part
    return parts


def _own_words(name: str) -> str:
    """Return a module's name without the words that compiling or sharding put in."""
    return ".".join(piece for piece in name.split(".") if piece not in _WRAPPED)


def scripted_parts(parts: Mapping[str, nn.Module]) -> list[str]:
    """Return the names of scripted and traced submodules: they run no hooks and hide their attention.

    Args:
        parts: Every submodule by name, as `named_parts` gives them.
    """
    found: list[str] = []
    for name, part in parts.items():
        is_inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(part, torch.jit.ScriptModule) and not is_inside:
            found.append(name)
    return found


def where_raised(error: BaseException, module: nn.Module) -> str:
    """Return the name of the innermost submodule whose code an exception left, "" if none was running."""
    names = {id(part): name for name, part in named_parts(module).items()}
    found = ""
    trace = error.__traceback__
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get("self")), found)
        trace = trace.tb_next
    return found


def _can_attend(module: nn.Module) -> bool:
    """Tell whether attention can run inside a module: in any but torch's own that hold no other."""
    if isinstance(module, torch.jit.ScriptModule):  # takes no hooks, and runs no Python
        return False
    is_own = type(module).__module__.startswith("torch.nn.modules.")
    return not is_own or next(module.children(), None) is not None


def layer_names(paths: list[tuple[str, ...]]) -> list[str]:
    """Return one name per attention call, from the module paths that were running at each call.

    Args:
        paths: Per call the running modules, outermost first, as `ModulePath.names` gives them.

    Returns:
        Unique names in call order. Calls of one module that runs several times get `#0`, `#1`, ….

    Example:
        >>> layer_names([("", "enc", "enc.0", "enc.0.attn"), ("", "enc", "enc.1", "enc.1.attn")])
        ['enc.0', 'enc.1']
        >>> layer_names([("", "enc", "enc.0"), ("", "enc", "enc.0")])
        ['enc.0#0', 'enc.0#1']
    """
    shared = Counter(name for path in set(paths) for name in set(path))
    names = [_own_name(path, shared, alone=len(set(paths)) == 1) for path in paths]
    repeats = Counter(names)
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}#{seen[name]}" if repeats[name] > 1 else name)
        seen[name] += 1
    return unique


def _own_name(path: tuple[str, ...], shared: Counter[str], *, alone: bool) -> str:
    """Return the shortest name in `path` that no other path holds; a lone path's numbered or last name."""
    if alone:
        numbered = [name for name in path if name.rpartition(".")[2].isdigit()]
        return next(iter(numbered), path[-1])
    return next((name for name in path if shared[name] == 1), path[-1])
