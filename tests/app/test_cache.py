"""The cache: bounded in bytes, least recently used, each value made once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock

import pytest

from clsight_app.cache import ByteCache


def cache_of(max_bytes: int) -> ByteCache[str, bytes]:
    return ByteCache(max_bytes, len)


def test_cache_makes_a_value_once() -> None:
    cache, made = cache_of(10), []
    for _ in range(2):
        assert cache.get("a", lambda: made.append(1) or b"abc") == b"abc"
    assert made == [1]
    assert cache.kept_bytes == 3


def test_cache_forgets_the_least_recently_used_when_full() -> None:
    cache = cache_of(10)
    cache.get("a", lambda: b"aaaa")
    cache.get("b", lambda: b"bbbb")
    cache.get("a", lambda: b"never made")
    cache.get("c", lambda: b"ccc")
    assert cache.keys() == ("a", "c")
    assert cache.kept_bytes == 7


def test_cache_keeps_the_newest_when_it_is_larger_than_the_bound() -> None:
    cache = cache_of(3)
    cache.get("small", lambda: b"s")
    assert cache.get("large", lambda: b"12345") == b"12345"
    assert cache.keys() == ("large",)


def test_cache_does_not_remember_a_failure() -> None:
    cache = cache_of(10)

    def fail() -> bytes:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        cache.get("a", fail)
    assert cache.get("a", lambda: b"now") == b"now"


def test_cache_joins_threads_that_ask_for_the_same_value() -> None:
    cache, made, everybody = cache_of(10), [], Barrier(8)
    counting = Lock()

    def make() -> bytes:
        with counting:
            made.append(1)
        Event().wait(0.1)  # long enough for every thread to ask
        return b"value"

    def ask(_: int) -> bytes:
        everybody.wait()
        return cache.get("a", make)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [b"value"] * 8
    assert made == [1]


def test_cache_gives_a_failure_to_each_thread_that_waits() -> None:
    cache, everybody, release = cache_of(10), Barrier(3), Event()

    def fail() -> bytes:
        release.wait(5)
        raise ValueError("broken")

    def ask(_: int) -> str:
        everybody.wait()
        with pytest.raises(ValueError, match="broken"):
            cache.get("a", fail)
        return "told"

    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(ask, number) for number in range(3)]
        release.set()
        assert [one.result() for one in asked] == ["told"] * 3


def test_cache_makes_other_values_meanwhile() -> None:
    cache, started, release = cache_of(10), Event(), Event()

    def slow() -> bytes:
        started.set()
        assert release.wait(5)
        return b"slow"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(cache.get, "slow", slow)
        assert started.wait(5)
        assert cache.get("fast", lambda: b"fast") == b"fast"
        release.set()
        assert waiting.result() == b"slow"
