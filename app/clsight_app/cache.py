"""A cache bounded in bytes that makes each value once, however many threads ask for it at the same time."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteCache(Generic[Key, Value]):
    """Keep the values used last, as long as their sizes together stay within a bound.

    The newest value is kept even when it alone is larger than the bound: a model that fits no cache can
    still be looked at. A value that cannot be made is not remembered.

    Args:
        max_bytes: Bound on the sum of sizes, in bytes.
        size_of: Gives the size of a value, in bytes.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[Value], int]) -> None:
        self.max_bytes = max_bytes
        self._size_of = size_of
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._being_made: dict[Key, Future[Value]] = {}
        self._lock = Lock()

    @property
    def kept_bytes(self) -> int:
        """The sum of the sizes of the kept values, in bytes."""
        with self._lock:
            return self._sum()

    def keys(self) -> tuple[Key, ...]:
        """Return the keys of the kept values, the least recently used first."""
        with self._lock:
            return tuple(self._kept)

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of a key; make it if it is not there, or wait for the thread that makes it.

        Args:
            key: What the value is found by.
            make: Called without a lock held, so that other keys stay available meanwhile.

        Raises:
            BaseException: Whatever `make` raised, in each thread that waited for it.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            made = self._being_made.get(key)
            mine = made is None
            if made is None:
                made = self._being_made[key] = Future()
        if mine:
            self._make(key, make, made)
        return made.result()

    def _make(self, key: Key, make: Callable[[], Value], made: Future[Value]) -> None:
        try:
            value = make()
            size = self._size_of(value)
        except BaseException as error:
            with self._lock:
                del self._being_made[key]
            made.set_exception(error)
            raise
        with self._lock:
            self._kept[key] = (value, size)
            del self._being_made[key]
            self._forget_oldest()
        made.set_result(value)

    def _forget_oldest(self) -> None:
        while self._sum() > self.max_bytes and len(self._kept) > 1:
            self._kept.popitem(last=False)

    def _sum(self) -> int:
        return sum(size for _, size in self._kept.values())
