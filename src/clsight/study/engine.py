"""Carry out many runs in processes of one torch thread each; the store has each when it is done."""

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from clsight.errors import StudyError
from clsight.study.jobs import Job
from clsight.study.store import Store
from clsight.study.tasks import task_named
from clsight.study.training import train

_MOST_DEATHS = 3


@dataclass(frozen=True)
class Done:
    """A run that ended.

    Attributes:
        job: Which.
        error: The last line of why it failed; empty if it did not.
    """

    job: Job
    error: str = ""


Engine = Callable[[Sequence[Job], Path], Iterator[Done]]
"""From jobs and the folder of a store to what ended, as it ends. Closing the iterator stops all."""


def carry_out(job: Job, folder: Path) -> Done:
    """Make one run in this process and write it to the store.

    Raises:
        StudyError: If it cannot be written. What fails in the run itself is written as its failure.
    """
    torch.set_num_threads(1)
    store = Store(folder)
    try:
        task = task_named(job.settings.task, job.settings.task_options)
        result = train(job.settings, task, evaluate=job.evaluate, probe_steps=job.probe_steps)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this run's alone, and kept with it
        store.keep_failure(job, traceback.format_exc())
        return Done(job, f"{type(error).__name__}: {error}")
    store.keep(job, result)
    return Done(job)


def local(workers: int) -> Engine:
    """Return an engine of processes on this machine.

    Args:
        workers: How many at once; each takes one core.
    """

    def run(jobs: Sequence[Job], folder: Path) -> Iterator[Done]:
        left, deaths = {job.key: job for job in jobs}, 0
        while left:
            try:
                for done in _in_processes([*left.values()], folder, workers):
                    del left[done.job.key]
                    yield done
            except BrokenProcessPool as death:
                deaths += 1
                if deaths == _MOST_DEATHS:
                    raise StudyError(
                        "workers",
                        expected="processes that live as long as their runs",
                        got=f"{deaths} that were killed from outside",
                        next_step="Look for a lack of memory, and run the same command with fewer --workers",
                    ) from death

    return run


def _in_processes(jobs: Sequence[Job], folder: Path, workers: int) -> Iterator[Done]:
    """Yield runs as they end; leaving early ends the processes at once."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_begin)
    pending: set[Future[Done]] = set()
    try:
        pending = {pool.submit(carry_out, job, folder) for job in jobs}
        while pending:
            ended, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()
    finally:
        stopped = bool(pending)
        pool.shutdown(wait=not stopped, cancel_futures=True)
        if stopped:
            for process in multiprocessing.active_children():
                process.terminate()


def _begin() -> None:
    """Leave Ctrl-C to the process that asked for the runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
