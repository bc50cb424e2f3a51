"""Long work in threads of this process: asked for once, watched by its id, stopped between batches.

The id of a job is made from what was asked, so that it can stand in a link, and so that two who ask for the
same wait for the same work. Results are kept in bounded memory; one that was dropped is computed again.
"""

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from clsight.errors import AppError, ClsightError

Status = Literal["waiting", "running", "done", "failed", "canceled"]
Work = Callable[[], Generator["Progress", None, Any]]
"""Yields its progress after each batch and returns its result; closed between batches, it ends at once."""

_STOP_SECONDS: Final = 15
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far work has come.

    Args:
        done: How many samples are done.
        total: How many there are.
    """

    done: int
    total: int


@dataclass(frozen=True)
class JobState:
    """What is known of a job at one moment.

    Args:
        status: Whether it waits for a thread, runs, or how it ended.
        progress: How far it has come.
        ahead: How many jobs wait before it.
        seconds: How long it has run.
        result: What the work returned, when `done`.
        error: Why it `failed`, in a sentence.
        is_stopping: Whether it runs to the end of its batch and stops there.
    """

    status: Status
    progress: Progress = Progress(0, 0)
    ahead: int = 0
    seconds: float = 0.0
    result: Any = None
    error: str = ""
    is_stopping: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status not in ("waiting", "running")


@dataclass
class _Job:
    work: Work | None
    state: JobState = JobState("waiting")
    is_canceled: threading.Event = field(default_factory=threading.Event)
    started: float = 0.0
    size: int = 0


def job_id(asked: Mapping[str, Any]) -> str:
    """Return the id of what is asked for: the same for the same, 16 hexadecimal digits.

    Args:
        asked: Plain values that decide the result wholly.
    """
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


class Jobs:
    """Runs jobs in a few threads, in the order in which they were asked for.

    Args:
        threads: How many run at the same time.
        max_waiting: How many may wait.
        max_bytes: Bound on the results kept, the one used last longest. The newest is always kept.
        max_kept: Bound on the number of jobs that are over and still known.
        size_of: Gives the bytes of a result.
    """

    def __init__(
        self,
        *,
        threads: int = 2,
        max_waiting: int = 16,
        max_bytes: int = 1 << 29,
        max_kept: int = 64,
        size_of: Callable[[Any], int] = lambda result: int(result.nbytes),
    ) -> None:
        self._threads, self._max_waiting = threads, max_waiting
        self._max_bytes, self._max_kept, self._size_of = max_bytes, max_kept, size_of
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._waiting: list[str] = []
        self._workers: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._is_closed = False

    def start(self, name: str, work: Work) -> None:
        """Have work done, unless the job of this id waits, runs or is done already.

        Args:
            name: What `job_id` gave for it.
            work: Called in a thread of its own.

        Raises:
            AppError: Too many jobs wait, or the server is being stopped.
        """
        with self._changed:
            known = self._jobs.get(name)
            if known is not None and not known.is_canceled.is_set() and known.state.status != "failed":
                return
            if self._is_closed or len(self._waiting) >= self._max_waiting:
                raise _refused(self._max_waiting, is_closed=self._is_closed)
            self._jobs[name] = _Job(work)
            self._jobs.move_to_end(name)
            self._waiting.append(name)
            if len(self._workers) < self._threads:
                self._add_worker()
            self._changed.notify_all()

    def state(self, name: str) -> JobState | None:
        """Return what is known of a job; None where it is not known, or not kept any more."""
        with self._changed:
            job = self._jobs.get(name)
            if job is None:
                return None
            self._jobs.move_to_end(name)
            ahead = self._waiting.index(name) if job.state.status == "waiting" else 0
            ran = time.monotonic() - job.started if job.state.status == "running" else job.state.seconds
            stopping = job.is_canceled.is_set() and not job.state.is_over
            return replace(job.state, ahead=ahead, seconds=ran, is_stopping=stopping)

    def cancel(self, name: str) -> None:
        """Stop a job: at once if it waits, after the batch at hand if it runs; one that is over stays so."""
        with self._changed:
            job = self._jobs.get(name)
            if job is None or job.state.is_over:
                return
            job.is_canceled.set()
            if name in self._waiting:
                self._waiting.remove(name)
                self._end(job, JobState("canceled"))

    @property
    def kept_bytes(self) -> int:
        """The bytes of all results that are kept."""
        with self._changed:
            return self._sum()

    def close(self) -> None:
        """Stop all jobs and take no more; returns when the threads have ended, or after 15 s."""
        with self._changed:
            self._is_closed = True
            for name in list(self._jobs):
                self.cancel(name)
            workers = list(self._workers)
            self._changed.notify_all()
        end = time.monotonic() + _STOP_SECONDS
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))

    def _add_worker(self) -> None:
        worker = threading.Thread(target=self._serve, name=f"job-{len(self._workers)}", daemon=True)
        self._workers.append(worker)
        worker.start()

    def _serve(self) -> None:
        """Do one job after the other, until the server is stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or bool(self._waiting))
                if self._is_closed:
                    return
                name = self._waiting.pop(0)
                job = self._jobs[name]
                job.started = time.monotonic()
                job.state = JobState("running")
            ended = self._run(job)
            with self._changed:
                self._end(job, replace(ended, seconds=time.monotonic() - job.started))
                self._jobs.move_to_end(name)
                self._forget_oldest()

    def _run(self, job: _Job) -> JobState:
        """Return how a job ended; an error that is not clsight's own is logged with its traceback."""
        assert job.work is not None
        try:
            return self._stepped(job, job.work())
        except ClsightError as error:
            return replace(job.state, status="failed", error=str(error))
        except Exception as error:  # noqa: BLE001 - whoever watches the job is told, the thread goes on
            _log.exception("A job failed")
            told = f"This work failed: {type(error).__name__}. The server's log tells more."
            return replace(job.state, status="failed", error=told)

    def _stepped(self, job: _Job, steps: Generator[Progress, None, Any]) -> JobState:
        while not job.is_canceled.is_set():
            try:
                progress = next(steps)
            except StopIteration as end:
                job.size = self._size_of(end.value)
                return replace(job.state, status="done", result=end.value)
            with self._changed:
                job.state = replace(job.state, progress=progress)
        steps.close()
        return replace(job.state, status="canceled")

    def _end(self, job: _Job, state: JobState) -> None:
        job.state, job.work = state, None  # what the work held on to can go

    def _forget_oldest(self) -> None:
        over = [name for name, job in self._jobs.items() if job.state.is_over]
        for name in over[:-1]:
            if self._sum() <= self._max_bytes and len(over) <= self._max_kept:
                return
            del self._jobs[name]
            over.remove(name)

    def _sum(self) -> int:
        return sum(job.size for job in self._jobs.values())


def _refused(most: int, *, is_closed: bool) -> AppError:
    return AppError(
        "jobs",
        expected="a server that takes work" if is_closed else f"fewer than {most} jobs that wait",
        got="one that is being stopped" if is_closed else f"{most}",
        next_step="Start the app again" if is_closed else "Wait until one is done, or cancel one",
    )
