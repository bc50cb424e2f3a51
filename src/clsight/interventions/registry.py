"""The list of interventions: what each asks, how it is defined, what it costs. App and docs read it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from clsight.analysis.registry import Measure

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Intervention(Measure):
    """A measure that takes the model itself: further forward passes, in which something is changed.

    Its function takes a subject or a module, and inputs; `needs` is empty, as it reads no record.

    Attributes:
        cost: What it takes, in forward passes.
    """

    cost: str


INTERVENTIONS: Final[dict[str, Intervention]] = {}
"""Every intervention by name; `intervention` below adds to it."""


def intervention(**description: Any) -> Callable[[Function], Function]:
    """Return a decorator that lists a function in `INTERVENTIONS` and leaves it as it is.

    Args:
        **description: The fields of `Intervention`, except `name`, `function` and `needs`.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        INTERVENTIONS[name] = Intervention(name=name, function=function, needs=(), **description)
        return function

    return register
