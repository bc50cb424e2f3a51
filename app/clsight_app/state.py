"""What the user is looking at, and its form as the query string of a link.

The browser keeps this selection in its address and nothing else; every view is a function of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from clsight.errors import AppError, did_you_mean
from clsight.schema import DIRECTIONS, Direction

_OPEN_SOMETHING_ELSE: Final = "Choose from the controls above"


@dataclass(frozen=True)
class Selection:
    """One view: a model, one of its examples, a direction of attention, a layer and a head.

    Args:
        model: Name of a loaded model; empty means the one shown first.
        sample: Index of the example, from 0.
        direction: `attends_to` (the CLS row) or `attended_by` (the CLS column).
        layer: Index of the layer, from 0.
        head: Index of the head, from 0.
    """

    model: str = ""
    sample: int = 0
    direction: Direction = "attends_to"
    layer: int = 0
    head: int = 0

    def changed(self, **values: Any) -> "Selection":
        """Return this selection with some fields replaced."""
        return replace(self, **values)


def to_query(selection: Selection) -> str:
    """Return the query string of a selection, with its leading question mark."""
    return "?" + urlencode(asdict(selection))


def from_query(query: str | None) -> Selection:
    """Return the selection that a query string tells; what it leaves out takes its default.

    Args:
        query: The part of an address from the question mark on, such as `?model=a&sample=3`.

    Raises:
        AppError: A number is not a non-negative whole number, or the direction is unknown.
    """
    given = dict(parse_qsl((query or "").removeprefix("?")))
    known: dict[str, Any] = {
        field.name: given[field.name] for field in fields(Selection) if field.name in given
    }
    for name in ("sample", "layer", "head"):
        if name in known:
            known[name] = to_whole_number(name, known[name])
    if known.get("direction", DIRECTIONS[0]) not in DIRECTIONS:
        raise _unknown("direction", known["direction"], DIRECTIONS)
    return Selection(**known)


def checked_model(selection: Selection, models: Sequence[str], *, first: str) -> Selection:
    """Return the selection, with the model `first` where it names none.

    Raises:
        AppError: No loaded model has this name.
    """
    if selection.model and selection.model not in models:
        raise _unknown("model", selection.model, models)
    return selection.changed(model=selection.model or first)


def checked_index(name: str, index: int, count: int) -> int:
    """Return an index that lies in 0 .. count − 1.

    Args:
        name: What is counted: `sample`, `layer` or `head`.
        index: The index asked for.
        count: How many there are.

    Raises:
        AppError: The index is not below the count.
    """
    if index < count:
        return index
    raise AppError(
        name,
        expected=f"a number from 0 to {count - 1}",
        got=str(index),
        where="The link asks for more than this model has",
        next_step=_OPEN_SOMETHING_ELSE,
    )


def to_whole_number(name: str, text: str) -> int:
    """Return the number that a part of an address tells.

    Raises:
        AppError: It is not a whole number from 0 on of at most nine digits.
    """
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    raise AppError(
        name, expected="a whole number from 0 on", got=repr(text[:40]), next_step=_OPEN_SOMETHING_ELSE
    )


def _unknown(what: str, name: str, options: Sequence[str]) -> AppError:
    return AppError(
        what,
        expected="one that is loaded" if what == "model" else "one that exists",
        got=repr(name[:80]),
        next_step=did_you_mean(name[:80], options),
    )
