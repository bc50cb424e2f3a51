"""The list of checks: what each asks, and what it can find. `clsight doctor` and docs/doctor.md read it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from clsight.doctor.examination import Examination
from clsight.doctor.findings import Finding, Severity

Function = Callable[[Examination], Iterator[Finding]]


@dataclass(frozen=True)
class Check:
    """A check and what a reader needs to understand it.

    Attributes:
        name: The name of its function.
        function: Yields what it finds in an examination.
        asks: What it answers, in one line.
        finds: What it can find, by severity.
    """

    name: str
    function: Function
    asks: str
    finds: Mapping[Severity, str]


CHECKS: Final[dict[str, Check]] = {}
"""Every check by name, in the order they are made; `check` below adds to it."""


def check(*, asks: str, finds: Mapping[Severity, str]) -> Callable[[Function], Function]:
    """Return a decorator that lists a function in `CHECKS` and leaves it as it is.

    Args:
        asks: What it answers, in one line that ends in a question mark.
        finds: What it can find, by severity.
    """

    def register(function: Function) -> Function:
        CHECKS[function.__name__] = Check(function.__name__, function, asks, finds)
        return function

    return register
