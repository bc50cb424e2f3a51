"""What does the first self-attention of a module see? Looked at in a forward pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from clsight.errors import ClsightError
from clsight.module_lock import lock_of

FORWARD_ERRORS: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
    ClsightError,
)
"""What a forward pass raises on input that does not fit."""

_SOFTMAXES: Final = frozenset({functional.softmax, torch.softmax, Tensor.softmax})


@dataclass(frozen=True)
class Look:
    """The first self-attention of a forward pass.

    Attributes:
        tokens: `[token, number]`, numbers that depend on each token of its sequence alone.
        grids: Rows and columns of what the convolutions before it gave, in their order.
        numbers: All numbers that the module returned, in a row; none where it did not run to its end.
    """

    tokens: Tensor
    grids: tuple[tuple[int, int], ...]
    numbers: Tensor

    @property
    def length(self) -> int:
        """Tokens of the sequence."""
        return len(self.tokens)


class _ReachedError(Exception):
    """Ends a forward pass at its first self-attention."""


def look(
    module: nn.Module, inputs: Sequence[Any], *, whole: bool = True, within: str | None = None
) -> Look | None:
    """Return what the first self-attention sees in `module(*inputs)`; None where there is none.

    Weights, modes of submodules and torch's random state stay as they are; torch's draws are the same in each
    pass.

    Args:
        module: The module.
        inputs: What it is called with.
        whole: Whether to run to the end, so that what fails behind the attention is raised too.
        within: Name of the submodule whose attention counts; None for all.
    """
    seen = _FirstAttention(stop=not whole)
    output = None
    with torch.no_grad(), torch.random.fork_rng(devices=[]), _told_of(module, within, seen), seen:
        torch.default_generator.manual_seed(0)  # of the CPU alone: that of a GPU stays where it is
        with suppress(_ReachedError):
            output = module(*inputs)
    if seen.tokens is None:
        return None
    return Look(seen.tokens, tuple(seen.grids), _numbers(output))


class _FirstAttention(TorchFunctionMode):
    """Keeps what the first call with as many queries as keys sees of each token.

    It counts while `running`, the number of modules around it that were meant, is not 0.
    """

    def __init__(self, *, stop: bool) -> None:
        super().__init__()
        self.tokens: Tensor | None = None
        self.grids: list[tuple[int, int]] = []
        self.running = 1
        self._stop = stop

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.tokens is None and self.running:
            self.tokens = _tokens(func, args)
            if self.tokens is not None and self._stop:
                raise _ReachedError
        result = func(*args, **(kwargs or {}))
        if func is functional.conv2d and self.tokens is None:
            self.grids.append((result.shape[-2], result.shape[-1]))
        return result


@contextmanager
def _told_of(module: nn.Module, within: str | None, seen: _FirstAttention) -> Iterator[None]:
    """Tell `seen` when `within` runs in this thread; a list of modules does not run, but those in it do."""
    if within is None:
        yield
        return
    own = get_ident()

    def enter(*given: Any) -> None:
        seen.running += get_ident() == own

    def leave(*given: Any) -> None:
        seen.running -= get_ident() == own

    seen.running = 0
    with lock_of(module), ExitStack() as undo:
        for name, part in module.named_modules():
            if name == within or name.startswith(f"{within}."):
                undo.callback(part.register_forward_pre_hook(enter).remove)
                undo.callback(part.register_forward_hook(leave, always_call=True).remove)
        yield


def _tokens(func: Callable[..., Any], args: Any) -> Tensor | None:
    """Return `[token, number]` of a self-attention: its keys, or each token's score for itself."""
    if func is functional.multi_head_attention_forward:
        query, key = args[0], args[1]
        return _flat(key, 0) if query.shape[0] == key.shape[0] else None
    if func is functional.scaled_dot_product_attention and len(args) > 1:
        query, key = args[0], args[1]
        return _flat(key, -2) if query.shape[-2] == key.shape[-2] else None
    if func in _SOFTMAXES and args and args[0].dim() > 2 and args[0].shape[-2] == args[0].shape[-1]:
        return _flat(args[0].diagonal(dim1=-2, dim2=-1), -1)
    return None


def _flat(values: Tensor, token: int) -> Tensor:
    return values.detach().movedim(token, 0).flatten(1) if values.dim() > 1 else values.detach()[:, None]


def _numbers(output: Any) -> Tensor:
    """Return the numbers of floating tensors, and of tuples and mappings of them, in a row."""
    if isinstance(output, Tensor):
        return output.detach().flatten().double() if output.is_floating_point() else torch.empty(0)
    inner = list(output.values()) if isinstance(output, Mapping) else output
    if not isinstance(inner, list | tuple):
        return torch.empty(0)
    return torch.cat([torch.empty(0), *(_numbers(one).cpu() for one in inner)])
