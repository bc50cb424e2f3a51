"""The list of interventions: what each asks, how it is defined, what it costs. App and docs read it."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from clsight.analysis.registry import Measure

Function = TypeVar("Function", bound=Callable[..., Any])

INTERVENTIONS: Final[dict[str, Measure]] = {}
"""Every intervention by name; `intervention` below adds to it."""


def intervention(**description: Any) -> Callable[[Function], Function]:
    """Return a decorator that lists a function in `INTERVENTIONS` and leaves it as it is.

    The function takes a subject or a module, and inputs; it needs no record.

    Args:
        **description: The fields of `Measure`, except `name`, `function` and `needs`.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        INTERVENTIONS[name] = Measure(name=name, function=function, needs=(), **description)
        return function

    return register
