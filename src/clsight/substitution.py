"""How one thread reads something else than what a module holds, while the module stays as it is.

Nothing is written into a parameter, a buffer or a table: other threads, `state_dict`, `parameters`, gradients
and tied weights go on as if nothing were replaced.
"""

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any, Self

import torch
from torch import Tensor, nn


class _Unannounced:
    """Keeps `__init_subclass__` of a model's class, which may register the class, from being called."""

    def __init_subclass__(cls, **options: Any) -> None:
        pass


class _Block:
    """Holds in the thread that opened it, until it is closed: also for copies of a module made meanwhile."""

    def __init__(self) -> None:
        self._thread = get_ident()
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._is_open = False

    def holds(self) -> bool:
        return self._is_open and get_ident() == self._thread


@contextmanager
def attribute_read_as(owner: nn.Module, name: str, value: Callable[[], Any]) -> Iterator[None]:
    """Let this thread read `value()` for `owner.name`, where the module's own code reads it.

    A property of a class comes before a module's parameters, buffers and submodules, so `owner` gets a
    subclass of its class with such a property for as long as the block lasts.
    """
    original, block = type(owner), _Block()

    def read(self: nn.Module) -> Any:
        if block.holds():
            return value()
        outer = getattr(original, name, None)  # the property of an enclosing block
        return outer.__get__(self) if isinstance(outer, property) else original.__getattr__(self, name)

    bases = (original,) if issubclass(original, _Unannounced) else (_Unannounced, original)
    changed = types.new_class(original.__name__, bases)
    changed.__module__, changed.__qualname__ = original.__module__, original.__qualname__
    setattr(changed, name, property(read))
    owner.__class__ = changed
    try:
        with block:
            yield
    finally:
        owner.__class__ = original


@contextmanager
def row_embedded_as(
    embedding: nn.Embedding, row: int, position: int, vectors: Callable[[int], Tensor]
) -> Iterator[None]:
    """Let this thread get `vectors(batch)` from `embedding` where `row` stands at `position` of a sequence.

    Args:
        embedding: Looks up ids [batch, time] and returns [batch, time, channel].
        row: The id of [CLS].
        position: Its place along time. The same id at another place is looked up as ever.
        vectors: Returns [batch, channel], or [1, channel] for all.
    """
    block = _Block()

    def exchange(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], found: Tensor
    ) -> Tensor | None:
        ids = args[0] if args else kwargs["input"]
        if not block.holds() or ids.dim() != 2 or not -ids.shape[1] <= position < ids.shape[1]:
            return None
        is_cls = ids[:, position] == row  # [batch]
        if not bool(is_cls.any()):
            return None
        found = found.clone()
        found[:, position] = torch.where(is_cls[:, None], vectors(len(ids)).to(found), found[:, position])
        return found

    handle = embedding.register_forward_hook(exchange, with_kwargs=True)
    try:
        with block:
            yield
    finally:
        handle.remove()


@contextmanager
def at_each_forward(
    module: nn.Module, before: Callable[[], None], after: Callable[[], None]
) -> Iterator[None]:
    """Call `before` and `after` around each forward pass of `module` in this thread."""
    block = _Block()

    def enter(module: nn.Module, args: Any) -> None:
        if block.holds():
            before()

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if block.holds():
            after()

    handles = (module.register_forward_pre_hook(enter), module.register_forward_hook(leave))
    try:
        with block:
            yield
    finally:
        for handle in handles:
            handle.remove()
