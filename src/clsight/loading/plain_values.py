"""How large and how deep is what a file says, with everything that it says twice counted twice?"""

from collections.abc import Iterator
from typing import Any, Final

DEEPEST: Final = 64
MOST_VALUES: Final = 1_000_000


def check_extent(value: Any) -> None:
    """Raise ValueError unless dicts, lists and tuples are nested at most 64 deep, with a million values.

    A few bytes can name the same list twice in each of fifty levels; written out it would fill any memory.
    """
    extents: dict[int, tuple[int, int]] = {}  # id -> (values, depth)
    open_ids = {id(value)}
    path: list[tuple[Any, Iterator[Any]]] = [(value, children(value))]
    while path:
        outer, rest = path[-1]
        inner = next(rest, None)
        if inner is None:
            path.pop()
            open_ids.discard(id(outer))
            extents[id(outer)] = _extent(outer, extents)
        elif id(inner) in open_ids:
            raise ValueError("something that contains itself")
        elif id(inner) not in extents:
            open_ids.add(id(inner))
            path.append((inner, children(inner)))
            if len(path) > DEEPEST:
                raise ValueError(f"nesting deeper than {DEEPEST}")


def children(value: Any) -> Iterator[Any]:
    """Yield the dicts, lists and tuples directly inside one."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return (item for item in inner if isinstance(item, dict | list | tuple))


def _extent(outer: Any, extents: dict[int, tuple[int, int]]) -> tuple[int, int]:
    inner = [extents[id(child)] for child in children(outer)]
    size = (len(outer) if isinstance(outer, dict | list | tuple) else 0) + sum(count for count, _ in inner)
    depth = 1 + max((deep for _, deep in inner), default=0)
    if size > MOST_VALUES or depth > DEEPEST:
        raise ValueError(f"more than {MOST_VALUES:,} values, or nesting deeper than {DEEPEST}")
    return size, depth
