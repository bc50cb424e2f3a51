"""What the user is looking at, and its form as the query string of a link.

The browser keeps this selection in its address and nothing else; every view is a function of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from clsight.analysis import MEASURES
from clsight.errors import AppError, did_you_mean
from clsight.schema import DIRECTIONS, Direction

_OPEN_SOMETHING_ELSE: Final = "Choose from the controls above"
LONGEST_TEXT: Final = 10_000
"""The most characters of a text in a link."""


@dataclass(frozen=True)
class Asked:
    """What a model is run on: one of its examples, or an input of the user's own.

    Args:
        sample: Index of the example, from 0; what follows comes before it.
        text: Typed text, or the first of two sentences.
        second: The second sentence of a pair.
        given: Id of an uploaded file, or path of a file under a root.
    """

    sample: int = 0
    text: str = ""
    second: str = ""
    given: str = ""

    @property
    def is_example(self) -> bool:
        """Whether it is one of the model's own examples."""
        return not (self.text or self.given)


@dataclass(frozen=True)
class Selection:
    """One view: a model, what it is run on, a measure, a direction of attention, a layer and a head.

    Args:
        model: Name of a loaded model; empty means the one shown first.
        sample: Index of the example, from 0.
        direction: `attends_to` (the CLS row) or `attended_by` (the CLS column).
        layer: Index of the layer, from 0.
        head: Index of the head, from 0.
        measure: Name of the measure in the grid; empty for the weights themselves.
        text: Typed text to run the model on instead of an example.
        second: The second sentence of a pair, beside `text`.
        given: An uploaded file, or a file under a root, instead of an example.
        edited: A second version of the text, whose map is shown beside.
        token: Position of a chosen token, a number in words; empty for none.
        inside: "1" to show what the head computes with.
        words: "1" to merge subwords.
    """

    model: str = ""
    sample: int = 0
    direction: Direction = "attends_to"
    layer: int = 0
    head: int = 0
    measure: str = ""
    text: str = ""
    second: str = ""
    given: str = ""
    edited: str = ""
    token: str = ""
    inside: str = ""
    words: str = ""

    @property
    def asked(self) -> Asked:
        """What the model is run on."""
        return Asked(self.sample, self.text, self.second, self.given)

    def changed(self, **values: Any) -> "Selection":
        """Return this selection with some fields replaced."""
        return replace(self, **values)


def to_query(selection: Selection) -> str:
    """Return the query string of a selection, with its leading question mark."""
    always = ("model", "sample", "direction", "layer", "head")
    told = {name: value for name, value in asdict(selection).items() if name in always or value != ""}
    return "?" + urlencode(told)


def from_query(query: str | None) -> Selection:
    """Return the selection that a query string tells; what it leaves out takes its default.

    Args:
        query: The part of an address from the question mark on, such as `?model=a&sample=3`.

    Raises:
        AppError: A number is not a non-negative whole number, the direction or the measure is unknown, or a
            text is too long.
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
    if known.get("measure", "") not in ("", *MEASURES):
        raise _unknown("measure", known["measure"], tuple(MEASURES))
    if known.get("token"):
        to_whole_number("token", known["token"])
    for name in ("text", "second", "edited", "given"):
        _check_length(name, known.get(name, ""))
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


def _check_length(name: str, text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise AppError(
            name,
            expected=f"at most {LONGEST_TEXT:,} characters",
            got=f"{len(text):,}",
            next_step="Type a part of it",
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
