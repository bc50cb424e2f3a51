"""The list of metrics: what each asks, how it is defined, which way is better. App and docs read it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
Need = Literal["curves", "attribution", "effects", "evidence", "model"]

OFF_DISTRIBUTION: Final = (
    "Inputs without their tokens are unlike those the model was trained on: a drop may come from that, which "
    "is why a random ranking stands beside it (Hooker et al. 2019, arXiv 1806.10758)"
)


@dataclass(frozen=True)
class Metric:
    """A metric of faithfulness and everything a reader needs to use it rightly.

    Args:
        name: Its name in `clsight.faithfulness`.
        function: Takes what `needs` says, in that order; further arguments are keyword-only and optional.
        question: What it answers, in one line.
        definition: Its formula in words, with its conventions.
        unit: Such as "probability"; empty for a pure number.
        range: Smallest and largest possible value, in words.
        better: Which way a more faithful attribution scores.
        cost: What it takes, in forward passes.
        paper: Where it comes from.
        trust: One sentence on what it does not show.
        needs: `curves` of `removal_curves`, an `attribution`, `effects` of `leave_one_out`, `evidence`, or
            the `model` itself.
    """

    name: str
    function: Callable[..., Any]
    question: str
    definition: str
    unit: str
    range: str
    better: Literal["higher", "lower"]
    cost: str
    paper: str
    trust: str
    needs: tuple[Need, ...]


METRICS: Final[dict[str, Metric]] = {}
"""Every metric by name; `metric` below adds to it."""


def metric(**description: Any) -> Callable[[Function], Function]:
    """Return a decorator that lists a function in `METRICS` and leaves it as it is.

    Args:
        **description: The fields of `Metric`, except `name` and `function`.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        METRICS[name] = Metric(name=name, function=function, **description)
        return function

    return register
