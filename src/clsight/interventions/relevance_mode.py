"""A forward pass whose graph can be gone through twice: for gradients, and for relevance.

A `TorchFunctionMode` puts a node behind each arithmetic operation that has a rule. On the way back the node
hands a gradient to the operation itself, as if it were not there, and relevance to the operands by the rule.
What only rearranges numbers needs no rule: its gradient is what becomes of relevance.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clsight.errors import CaptureError
from clsight.hooks.products import exact_dtype
from clsight.interventions.relevance_constants import Constants
from clsight.interventions.relevance_entrywise import Entrywise
from clsight.interventions.relevance_operations import PLANS, SUMS, Plan, passed_on
from clsight.interventions.relevance_samples import Samples

_MOVES = frozenset(
    f"{name}_"
    for name in ("detach", "requires_grad", "resize", "squeeze", "swapaxes", "swapdims", "t", "transpose")
) | {"unsqueeze_"}
"""What changes a tensor in place, but not its numbers."""


@dataclass(frozen=True)
class _Ran:
    """An operation that ran.

    Attributes:
        name: Of the function.
        plan: Its operands and its rule.
        versions: How often each operand had been changed in place.
    """

    name: str
    plan: Plan
    versions: tuple[int, ...]

    def relevance_of_operands(self, relevance: Tensor, samples: Samples) -> list[Tensor | None]:
        """Return the relevance of each operand that is part of the graph.

        Raises:
            CaptureError: If an operand is no longer what the operation read.
        """
        operands = self.plan.operands
        if tuple(operand._version for operand in operands) != self.versions:
            raise changed_in_place(self.name)
        dtype = max((exact_dtype(operand) for operand in operands), key=lambda one: one.itemsize)
        values = [operand.detach().to(dtype) for operand in operands]
        found = self.plan.rule(relevance.to(dtype), values, samples)
        return [
            one.to(operand.dtype) if operand.requires_grad else None
            for one, operand in zip(found, operands, strict=True)
        ]


def changed_in_place(subject: str) -> CaptureError:
    """Return the error for values that a rule needs and that are gone."""
    return CaptureError(
        subject,
        expected="values that stay as they were until the pass has ended",
        got="some that were changed in place",
        next_step="Ask for chefer, which needs gradients alone",
    )


class Switch(torch.autograd.Function):
    """Stands behind an operation: its first input is the result, the others are the operands."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, rules: "RelevanceMode", ran: _Ran, *operands: Tensor) -> Tensor:
        """Return the result as it is."""
        ctx.set_materialize_grads(False)
        ctx.rules, ctx.ran = rules, ran
        return result.detach()

    @staticmethod
    def backward(ctx: Any, *given: Any) -> Any:
        """Hand a gradient to the result, or relevance to the operands."""
        (arriving,) = given
        samples = ctx.rules.samples
        if samples is None or arriving is None:
            return (arriving, None, None, *(None for _ in ctx.ran.plan.operands))
        return (None, None, None, *ctx.ran.relevance_of_operands(arriving, samples))


class RelevanceMode(TorchFunctionMode):
    """Make a graph for gradients and relevance of what runs in this thread while the mode is entered.

    Args:
        module: The module that will run.

    Attributes:
        samples: While relevance is asked for, which entries belong to one sample; else None.
        sums: The summands of each sum of states.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.samples: Samples | None = None
        self.sums: list[Sequence[Tensor]] = []
        self._constants = Constants(module)
        self._entrywise = Entrywise()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").partition(".")[0]
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if _is_in_place(name, args, kwargs):
            return self._in_place(func, name, args, kwargs)
        result = func(*args, **kwargs)
        self._constants.note((*args, *kwargs.values()), result)
        return self._switched(name, args, kwargs, result)

    def _switched(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Any:
        """Return the result, with a node behind it if its operation has a rule and is in the graph."""
        if not isinstance(result, Tensor) or not result.requires_grad:
            return result
        if not args and "input" in kwargs:  # all by name
            args, kwargs = (kwargs["input"],), {key: one for key, one in kwargs.items() if key != "input"}
        state, parts = self._entrywise.state_behind(name, (*args, *kwargs.values()), result)
        if state is not None:
            made = self._ruled(
                name, passed_on(state) if parts > 1 else self._plan(name, args, kwargs), result
            )
            self._entrywise.note(made, state)
            return made
        return self._ruled(name, self._plan(name, args, kwargs), result)

    def _plan(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Plan | None:
        return PLANS[name](args, kwargs, self._constants.holds) if name in PLANS else None

    def _ruled(self, name: str, plan: Plan | None, result: Tensor) -> Tensor:
        """Return the result, with a node behind it if there is a plan for what takes part in the graph."""
        if plan is None or not any(one.requires_grad for one in plan.operands):
            return result
        if any(result is one for one in plan.operands):  # such as dropout that is off
            return result
        if name in SUMS:
            self.sums.append([one.detach() for one in plan.operands])
        ran = _Ran(name, plan, tuple(one._version for one in plan.operands))
        made: Tensor = Switch.apply(result, self, ran, *plan.operands)  # type: ignore[no-untyped-call]
        return made

    def _in_place(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation on a copy and then change the tensor, so that the graph shows what was done."""
        target: Tensor = args[0]
        before = target.clone()
        result = func(before.clone(), *args[1:], **kwargs)
        return target.copy_(self._switched(name.rstrip("_"), (before, *args[1:]), kwargs, result))

    @contextmanager
    def asking_for(self, samples: Samples) -> Iterator[None]:
        """Let what goes back through the graph be relevance inside the block."""
        self.samples = samples
        try:
            yield
        finally:
            self.samples = None


def _is_in_place(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether an operation changes the numbers of its first argument, and the graph has to show it."""
    target = args[0] if args else None
    if not isinstance(target, Tensor) or not target.is_floating_point() or name in _MOVES:
        return False
    is_named_so = name.endswith("_") and not name.startswith("__")
    if not is_named_so and kwargs.get("inplace") is not True:
        return False
    has_graph = any(isinstance(one, Tensor) and one.requires_grad for one in (*args, *kwargs.values()))
    return has_graph and (name.rstrip("_") in PLANS or target._is_view())
