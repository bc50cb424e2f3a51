"""Runs in processes of this machine, each with one thread."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Final

from tqdm import tqdm

from clsight.errors import StudyError
from clsight.study.engines.finishing import Asked, Failure, Finished, attempted
from clsight.study.planned_runs import PlannedRun, Work

# Spawned, not forked: torch after a fork may hang, and every worker starts from the same state.
_SPAWN: Final = multiprocessing.get_context("spawn")
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_DYING: Final = 10.0
"""Seconds that a process whose pipe is closed gets to end by itself."""


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine.

    A worker that dies, as when the system ends one that takes too much memory, is replaced; its run is a
    failure. If this process is killed, its workers end too.

    Args:
        workers: How many at once, 1 or more.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            step = "Give 1 or more"
            raise StudyError("workers", expected="1 or more", got=str(self.workers), next_step=step)

    def finished(self, asked: Iterable[Asked], work: Work) -> Generator[Finished, None, None]:
        """Yield each run as soon as it has ended, as `Engine` says."""
        waiting = iter(asked)
        busy: dict[Connection, _Worker] = {}
        try:
            for item in islice(waiting, self.workers):
                worker = _Worker(work)
                worker.begin(item)
                busy[worker.connection] = worker
            while busy:
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    worker = busy.pop(ready)
                    ended = worker.end()
                    following = next(waiting, None)
                    if following is not None:
                        worker = worker if worker.is_alive else _Worker(work)
                        worker.begin(following)
                        busy[worker.connection] = worker
                    else:
                        worker.close()
                    yield ended
        finally:
            for worker in busy.values():
                worker.close()


class _Worker:
    """A process that makes one run after the other, and the run that it has in hand."""

    def __init__(self, work: Work) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, work), daemon=True)
        with _one_thread(), _deaf_to_ctrl_c():
            self._process.start()
        theirs.close()  # the worker's end: when it dies, reading from ours ends
        self._asked: Asked | None = None

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def begin(self, asked: Asked) -> None:
        self._asked = asked
        with suppress(OSError):  # if it died in between, `end` tells
            self.connection.send(asked[1])

    def end(self) -> Finished:
        """Return what came out of the run in hand; a worker that died gives its exit code."""
        assert self._asked is not None
        try:
            result = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(_DYING)
            self.close()
            result = Failure(f"its process ended with exit code {self._process.exitcode}")
        return Finished(*self._asked, result)

    def close(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, work: Work) -> None:
    """Make runs until the study has no more or is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Else tqdm makes a semaphore of the system, which a process that is killed leaves behind.
    tqdm.set_lock(threading.RLock())
    while True:
        try:
            run: PlannedRun = connection.recv()
        except EOFError:
            return
        connection.send(attempted(work, run))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start inside the block compute with one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that start inside the block ignore Ctrl-C, which a terminal sends to all of them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change it
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
