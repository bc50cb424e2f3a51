"""Tables of a study file: a value by name and kind, and a sentence about each that is not as it should be."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from clsight.errors import StudyError, did_you_mean

REQUIRED: Final = object()
"""The default of a value that has none."""


def is_text(value: Any) -> bool:
    """Tell whether a value is text that is not empty."""
    return isinstance(value, str) and bool(value.strip())


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_KINDS: Final[dict[str, Callable[[Any], bool]]] = {
    "text": is_text,
    "any text": lambda value: isinstance(value, str),
    "a whole number of 1 or more": lambda value: is_whole(value) and value >= 1,
    "a number between 0 and 1": lambda value: is_number(value) and 0 < value < 1,
    "a number above 0": lambda value: is_number(value) and value > 0,
    "true or false": lambda value: isinstance(value, bool),
    "a table": lambda value: isinstance(value, Mapping),
    "a list of tables": lambda value: _is_list_of(value, lambda item: isinstance(item, Mapping)),
    "a list of numbers above 0": lambda value: _is_list_of(value, lambda item: is_number(item) and item > 0),
    "text or a table": lambda value: is_text(value) or isinstance(value, Mapping),
    "a whole number, or a list of them": lambda value: is_whole(value) or _is_list_of(value, is_whole),
}


class Table:
    """One table of a study file, with names that are all known.

    Args:
        values: What the file says.
        place: Where it stands, such as `[[block]] 2`.
        known: Every name that it may have; None if any.

    Raises:
        StudyError: If it has another name; the message gives the nearest and all.
    """

    def __init__(self, values: Mapping[str, Any], place: str, known: Iterable[str] | None = None) -> None:
        self.values = values
        self.place = place
        names = sorted(known) if known is not None else list(values)
        for name in values:
            if name not in names:
                raise StudyError(
                    name, expected=f"a known name in {place}", got="none", next_step=did_you_mean(name, names)
                )

    def take(self, name: str, kind: str, default: Any = REQUIRED) -> Any:
        """Return the value called `name`, or the default where the file does not say.

        Args:
            name: Of the value.
            kind: What it must be: a key of the kinds above.
            default: What it is otherwise; without one the value must be there.

        Raises:
            StudyError: If it is missing, or of another kind.
        """
        if name not in self.values and default is not REQUIRED:
            return default
        value = self.values.get(name)
        if name not in self.values or not _KINDS[kind](value):
            got = repr(value) if name in self.values else "nothing"
            raise self.error(name, expected=kind, got=got, next_step=f"Set `{name}` there")
        return value

    def error(self, name: str, *, expected: str, got: str, next_step: str) -> StudyError:
        """Return the error about one of the values."""
        return StudyError(name, expected=expected, got=got, where=f"In {self.place}", next_step=next_step)


def _is_list_of(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and bool(value) and all(map(fits, value))
