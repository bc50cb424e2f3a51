"""One thread at a time watches or changes a module: the lock that captures and replacements share."""

from threading import RLock
from weakref import WeakKeyDictionary

from torch import nn

_locks: WeakKeyDictionary[nn.Module, RLock] = WeakKeyDictionary()
_locks_guard = RLock()


def lock_of(module: nn.Module) -> RLock:
    """Return the lock that a thread holds while it watches or changes this module."""
    with _locks_guard:
        return _locks.setdefault(module, RLock())
