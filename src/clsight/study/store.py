"""The folder of a study: each run in a folder of its own, written whole or not at all, by its key.

DIR/study.toml         the study as it was read, every default written out
DIR/runs/KEY/run.json  what was asked and what came out; `error` where it failed
DIR/runs/KEY/          also history.csv and, of results, the model (clsight.load opens it) and probe.zarr.zip
"""

import errno
import fcntl
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from clsight.errors import StudyError
from clsight.records import save_record
from clsight.saving import write_model
from clsight.study.jobs import Job
from clsight.study.training import RunResult

_RUN, _HISTORY, _PROBE, _STUDY = "run.json", "history.csv", "probe.zarr.zip", "study.toml"


@dataclass(frozen=True)
class StoredRun:
    """A run that is in the store.

    Attributes:
        folder: Where; its model loads with `clsight.load`.
        outcome: Numbers by name.
        diverged: Whether the loss stopped being finite.
        seconds: It took.
        error: Why it failed; empty if it did not.
    """

    folder: Path
    outcome: dict[str, float]
    diverged: bool
    seconds: float
    error: str = ""

    def history(self) -> pd.DataFrame:
        """Return the table of epochs."""
        return pd.read_csv(self.folder / _HISTORY)


class Store:
    """The runs of one study in one folder.

    Args:
        folder: Where they are, or will be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._runs = self.folder / "runs"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other studies from writing here inside the block.

        Raises:
            StudyError: If one does, or the folder cannot be made.
        """
        try:
            self._runs.mkdir(parents=True, exist_ok=True)
            file = (self.folder / ".lock").open("w")
        except OSError as error:
            raise self._unwritable(error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StudyError(
                    str(self.folder),
                    expected="a folder that no other study writes to",
                    got="one that a running study has locked",
                    next_step="Wait until it ends, or choose another --out",
                ) from error
            for partial in self._runs.glob(".*"):  # left by runs that were killed
                shutil.rmtree(partial, ignore_errors=True)
            yield

    def describe(self, name: str, lines: list[str]) -> None:
        """Write what the study is, or check that the folder is of the same study.

        Raises:
            StudyError: If it is of another study.
        """
        file = self.folder / _STUDY
        first = f"# {name}"
        if file.exists() and (found := file.read_text(encoding="utf-8").splitlines()[0]) != first:
            raise StudyError(
                str(self.folder),
                expected=f"a folder of the study {name!r}, or an empty one",
                got=f"one of {found.removeprefix('# ')!r}",
                next_step="Choose another --out",
            )
        text = "\n".join([first, *lines]) + "\n"
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False, encoding="utf-8") as written:
            written.write(text)
        os.replace(written.name, file)

    def find(self, job: Job) -> StoredRun | None:
        """Return the run of a job; None if it was not made."""
        folder = self._runs / job.key
        try:
            told = json.loads((folder / _RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        outcome = {name: float("nan") if value is None else value for name, value in told["outcome"].items()}
        return StoredRun(folder, outcome, told["diverged"], told["seconds"], told["error"])

    def forget(self, job: Job) -> None:
        """Remove the run of a job, so that it is made anew."""
        shutil.rmtree(self._runs / job.key, ignore_errors=True)

    def keep(self, job: Job, result: RunResult) -> None:
        """Write a run; of one that chooses a learning rate neither model nor record.

        Raises:
            StudyError: If it cannot be written; nothing of it is left then.
        """
        told = {
            "outcome": {name: None if math.isnan(value) else value for name, value in result.outcome.items()},
            "diverged": result.diverged,
            "seconds": result.seconds,
            "error": "",
        }
        with self._new(job) as folder:
            self._write_run(folder, job, told)
            result.history.to_csv(folder / _HISTORY, index=False)
            if job.evaluate == "test":
                write_model(result.model, folder)
            if result.record is not None:
                save_record(result.record, folder / _PROBE)

    def keep_failure(self, job: Job, error: str) -> None:
        """Write that a run failed, and why."""
        with self._new(job) as folder:
            self._write_run(folder, job, {"outcome": {}, "diverged": False, "seconds": 0.0, "error": error})

    def _write_run(self, folder: Path, job: Job, told: dict[str, Any]) -> None:
        text = json.dumps({**job.described(), **told}, indent=1)
        (folder / _RUN).write_text(text + "\n", encoding="utf-8")

    @contextmanager
    def _new(self, job: Job) -> Iterator[Path]:
        """Give a folder to fill that becomes the run's when the block ends without an error."""
        try:
            with tempfile.TemporaryDirectory(prefix=f".{job.key}.", dir=self._runs) as scratch:
                folder = Path(scratch) / "run"
                folder.mkdir()
                yield folder
                for file in folder.iterdir():
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())
                os.replace(folder, self._runs / job.key)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # made in the meantime, with the same numbers
                return
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StudyError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return StudyError(
            str(self.folder),
            expected="a folder that can be written to",
            got=error.strerror or str(error),
            next_step="Make room, and run the same command again: it goes on from here"
            if full
            else "Choose another --out",
        )
