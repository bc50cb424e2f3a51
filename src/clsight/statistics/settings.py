"""Checks of the plain settings of a statistic: levels, counts and choices."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, Final

from clsight.errors import StatisticsError, did_you_mean

USUAL: Final = {"confidence": 0.95, "level": 0.05, "power": 0.8}


def fraction(value: Any, name: str, *, asked_by: str, below: float = 1.0) -> float:
    """Return a number strictly between 0 and `below`; its name is a key of `USUAL`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < below:
        raise StatisticsError(
            asked_by,
            expected=f"`{name}` between 0 and {below:g}",
            got=repr(value),
            next_step=f"A usual one is {name}={USUAL[name]}",
        )
    return float(value)


def positive(value: Any, name: str, *, asked_by: str) -> float:
    """Return a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise StatisticsError(
            asked_by,
            expected=f"`{name}` as a finite number above 0",
            got=repr(value),
            next_step=f"Declare `{name}` in the unit of the values, before looking at them",
        )
    return float(value)


def finite(value: Any, name: str, *, asked_by: str) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise StatisticsError(
            asked_by,
            expected=f"`{name}` as a finite number",
            got=repr(value),
            next_step=f"Give `{name}` in the unit of the values",
        )
    return float(value)


def at_least(least: int, value: Any, name: str, *, asked_by: str) -> int:
    """Return a whole number that is not below `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise StatisticsError(
            asked_by,
            expected=f"`{name}` as a whole number of at least {least}",
            got=repr(value),
            next_step=f"Give {least} or more",
        )
    return int(value)


def one_of(options: Iterable[str], value: Any, name: str, *, asked_by: str) -> str:
    """Return a value that is among the options."""
    known = tuple(options)
    if not isinstance(value, str) or value not in known:
        raise StatisticsError(
            asked_by,
            expected=f"a known `{name}`",
            got=repr(value),
            next_step=did_you_mean(str(value), known),
        )
    return value
