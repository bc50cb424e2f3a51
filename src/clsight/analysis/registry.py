"""The list of measures: what each asks, how it is defined, how far to trust it. App and docs read it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import xarray as xr

from clsight.records.checking import check_is_record
from clsight.schema import KEPT_BY

Function = TypeVar("Function", bound=Callable[..., Any])

DIRECT_TRUST: Final = (
    "Weights show where information is routed, not what it contributes: the values read may be near zero "
    "(Jain & Wallace 2019, arXiv 1902.10186; Wiegreffe & Pinter 2019, arXiv 1908.04626)."
)


@dataclass(frozen=True)
class Measure:
    """A measure and everything a reader needs to use it rightly.

    Args:
        name: Its name in `clsight.analysis`.
        function: Takes a record, returns a DataArray; further arguments are keyword-only and optional.
        question: What it answers, in one line.
        definition: Its formula in words, with its conventions.
        unit: Such as "nats"; empty for a pure number.
        range: Smallest and largest possible value, in words.
        cost: How the work grows, and what it takes: "from the record", or how many forward passes.
        paper: Where it comes from; empty if nowhere in particular.
        trust: One sentence on what it does not show.
        needs: The record variables it reads.
        dims: The dims of its result, for a plain record.
    """

    name: str
    function: Callable[..., Any]
    question: str
    definition: str
    unit: str
    range: str
    cost: str
    paper: str
    trust: str
    needs: tuple[str, ...]
    dims: tuple[str, ...]

    @property
    def keep(self) -> tuple[str, ...]:
        """What to pass to `clsight.capture` as `keep=` for a record that has all it needs."""
        return tuple(dict.fromkeys(KEPT_BY[name] for name in self.needs if name in KEPT_BY))

    def missing_from(self, record: xr.Dataset) -> tuple[str, ...]:
        """Return the variables it needs that this record lacks: none, and it can be computed.

        Raises:
            RecordError: If this is no record.
        """
        check_is_record(record, self.name)
        return tuple(name for name in self.needs if name not in record.variables)


MEASURES: Final[dict[str, Measure]] = {}
"""Every measure by name; `measure` below adds to it."""


def measure(**description: Any) -> Callable[[Function], Function]:
    """Return a decorator that lists a function in `MEASURES` and leaves it as it is.

    Args:
        **description: The fields of `Measure`, except `name` and `function`.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        MEASURES[name] = Measure(name=name, function=function, **description)
        return function

    return register
