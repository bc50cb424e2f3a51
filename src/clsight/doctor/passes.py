"""One more forward pass of a model under examination, watched, and without a trace left in the model."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clsight.errors import CaptureError
from clsight.hooks.calls import Inputs, call_module, find_logits, tensors_in
from clsight.hooks.random_streams import stream_states, undisturbed

_DRAWING: Final = frozenset(
    {"bernoulli", "bernoulli_", "normal", "normal_", "rand", "rand_like", "randint", "randint_like"}
    | {"randn", "randn_like", "randperm", "trunc_normal_", "uniform_"}
)
FAILURES: Final = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What code of a strange model may raise."""
Seen = Callable[[str, nn.Module, Any, Any], None]
"""Told the name of a submodule that ran, itself, its arguments and its output."""
Called = Callable[[str, tuple[Any, ...]], None]
"""Told the name of a function of torch that is about to run, and its arguments."""


@dataclass
class Pass:
    """What one forward pass showed.

    Attributes:
        outputs: Every floating tensor of the output.
        logits: `[sample, class]`; None if the output holds none.
        draws: Each function that drew random numbers, with the shape it gave.
        dropouts: Names of the submodules in which dropout was active.
        runs: How often each submodule ran, by name.
        names_logits: Whether the output, or who asked, calls the logits so.
    """

    outputs: list[Tensor] = field(default_factory=list)
    logits: Tensor | None = None
    draws: list[str] = field(default_factory=list)
    dropouts: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    names_logits: bool = False


def watched_pass(
    module: nn.Module,
    inputs: Inputs,
    *,
    samples: int,
    seed: int,
    seen: Seen,
    called: Called,
    output: Any = None,
) -> Pass:
    """Run a module once in eval mode, without gradients, and return what was seen.

    Args:
        module: The module; its mode, hooks and random streams are as before afterwards.
        inputs: What it is called with.
        samples: Size of the batch.
        seed: Start of every random stream that it may draw from.
        seen: Called after each submodule.
        called: Called before each function of torch.
        output: From the module's output to its logits; None to find them.

    Raises:
        CaptureError: If the forward pass fails.
    """
    watched = Pass()
    running: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(undisturbed(module, seed))
        stack.enter_context(torch.no_grad())
        for name, part in module.named_modules():
            stack.enter_context(_hooked(part, name, watched, running, seen))
        mode = _Watch(watched, running, called)
        before = stream_states(module)
        try:
            with mode:
                returned = call_module(module, inputs)
        except FAILURES as failure:
            raise failed_pass(module, failure) from failure
        if not watched.draws and not watched.dropouts and stream_states(module) != before:
            watched.draws.append("a random stream")
    watched.outputs = [tensor.detach() for tensor in tensors_in(returned) if tensor.is_floating_point()]
    watched.logits = find_logits(returned, samples)[0] if output is None else output(returned)
    watched.names_logits = output is not None or _names_logits(returned)
    return watched


def _names_logits(returned: Any) -> bool:
    named = returned.get("logits") if isinstance(returned, Mapping) else getattr(returned, "logits", None)
    return isinstance(named, Tensor)


def failed_pass(module: nn.Module, failure: Exception) -> CaptureError:
    """Return the error of a forward pass that raised something else than clsight's own."""
    return CaptureError(
        type(module).__name__,
        expected="a forward pass that runs",
        got=f"{type(failure).__name__}: {' '.join(str(failure).split())}",
        next_step="Check the inputs, and that the module runs without clsight",
    )


@contextmanager
def _hooked(part: nn.Module, name: str, watched: Pass, running: list[str], seen: Seen) -> Iterator[None]:
    """Note when a submodule runs, for the length of a block."""

    def enter(module: nn.Module, args: Any) -> None:
        running.append(name)

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        while running and running.pop() != name:
            pass
        watched.runs[name] += 1
        seen(name, module, (args, kwargs), output)

    handles = (
        part.register_forward_pre_hook(enter),
        part.register_forward_hook(leave, with_kwargs=True),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """See draws of random numbers and active dropout; torch's native encoder path stays off meanwhile."""

    def __init__(self, watched: Pass, running: list[str], called: Called) -> None:
        super().__init__()
        self._called = called
        self._watched = watched
        self._running = running

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        self._called(name, args)
        result = func(*args, **kwargs)
        if name in _DRAWING and isinstance(result, Tensor):
            self._watched.draws.append(f"{_spelled(name)} {tuple(result.shape)}")
        elif _drops(name, args, kwargs):
            self._watched.dropouts.append(self._running[-1] if self._running else "")
        return result


def _spelled(name: str) -> str:
    return f"Tensor.{name}" if name.endswith("_") else f"torch.{name}"


def _drops(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether a call drops something: dropout that is on, attention with a dropout of its own."""
    if name == "scaled_dot_product_attention":
        return float(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)) > 0
    if name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"):
        chance = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
        return bool(training) and float(chance) > 0
    return False
