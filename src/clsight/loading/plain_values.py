"""How large and how deep is what a file says, with everything that it says twice counted twice?"""

from typing import Any, Final

DEEPEST: Final = 64
MOST_VALUES: Final = 1_000_000


def check_extent(value: Any) -> None:
    """Raise ValueError unless dicts, lists and tuples are nested at most 64 deep, with a million values.

    A few bytes can name the same list twice in each of fifty levels; written out it would fill any memory.
    """
    level, count = _nested([value]), 0
    for _ in range(DEEPEST):
        count += sum(len(outer) for outer in level)
        if count > MOST_VALUES:  # before they are listed
            raise ValueError(f"more than {MOST_VALUES:,} values")
        level = [inner for outer in level for inner in _nested(outer)]
        if not level:
            return
    raise ValueError(f"nesting deeper than {DEEPEST}")


def _nested(outer: Any) -> list[Any]:
    """Return the dicts, lists and tuples directly inside one."""
    values = outer.values() if isinstance(outer, dict) else outer
    return [inner for inner in values if isinstance(inner, dict | list | tuple)]
