"""Rules for the values of a configuration file: of which kind, in which range."""

from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from clsight.errors import CheckpointError

Rule = Callable[[Any], bool]
"""Tells whether a value may stand; a TypeError means that it may not."""

LARGEST_SIDE = 4096


def whole(least: int, most: int) -> Rule:
    """Return the rule of whole numbers in a range, both ends included; True and False are none."""
    return lambda value: type(value) is int and least <= value <= most


def number(least: float, most: float) -> Rule:
    """Return the rule of finite numbers in a range, both ends included."""
    return lambda value: type(value) in (int, float) and least <= value <= most


def one_of(*choice: str) -> Rule:
    """Return the rule of a few words."""
    return lambda value: isinstance(value, str) and value in choice


def pixels(value: Any) -> bool:
    """Tell whether a value is a side of a picture, or height and width."""
    side = whole(1, LARGEST_SIDE)
    return side(value) or (isinstance(value, list | tuple) and len(value) == 2 and all(map(side, value)))


def yes_or_no(value: Any) -> bool:
    """Tell whether a value is True or False."""
    return isinstance(value, bool)


def word(value: Any) -> bool:
    """Tell whether a value is a short name: letters, digits and underscores."""
    return isinstance(value, str) and len(value) <= 40 and value.replace("_", "").isalnum()


def nearest(name: str, names: Collection[str]) -> str:
    """Return a next step that offers up to three similar names, where all of them are too many to list."""
    near = get_close_matches(name[:100], names, n=3)
    return f"Did you mean {' or '.join(f'`{one}`' for one in near)}?" if near else "Correct the name"


def check_value(key: str, rule: Rule, value: Any, file: Path) -> None:
    """Refuse a value that breaks its rule.

    Raises:
        CheckpointError: Naming the key, the value and the file.
    """
    try:
        holds = rule(value)
    except (TypeError, LookupError):  # a number where a list is due, a list where a word is
        holds = False
    if not holds:
        got = repr(value)
        raise CheckpointError(
            key,
            expected="a value of its kind and in its range",
            got=got if len(got) <= 80 else f"{got[:77]}...",
            next_step=f"Correct {file}",
        )
