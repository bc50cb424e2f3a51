"""What every engine is given and gives back: runs by key, and each as files or as the error it ended in."""

import traceback
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from clsight.study.planned_runs import PlannedRun, Work

Asked = tuple[str, PlannedRun]
"""A run and its key."""


@dataclass(frozen=True)
class Failure:
    """An error as text, since not every exception travels between processes.

    Attributes:
        error: Its type and message.
        details: Its traceback, or what else is known.
    """

    error: str
    details: str = ""


@dataclass(frozen=True)
class Finished:
    """A run that ended.

    Attributes:
        key: Of the run.
        run: What was asked.
        result: The files of its result, or why there is none.
    """

    key: str
    run: PlannedRun
    result: dict[str, bytes] | Failure


class Engine(Protocol):
    """Makes runs somewhere. Whoever iterates commits the results: one process, whatever the engine."""

    def finished(self, asked: Iterable[Asked], work: Work) -> Generator[Finished, None, None]:
        """Yield each run as soon as it has ended; an error in one does not stop the others.

        Leaving the iteration early, by an error or Ctrl-C, ends what is in flight.

        Args:
            asked: The runs.
            work: The function that makes one.
        """
        ...


def attempted(work: Work, run: PlannedRun) -> dict[str, bytes] | Failure:
    """Return the files of a run, or the error it ended in."""
    try:
        return work(run)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a run is recorded as its result
        return Failure(f"{type(error).__name__}: {error}", traceback.format_exc())
