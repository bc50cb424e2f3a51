"""The folder of a study: each run written whole or not at all, by one study at a time.

DIR/study.json         what marks the folder, and the plan that its results answer
DIR/runs/KEY/          the files of a finished run
DIR/failed/KEY.json    a run that ended in an error, until it is made
DIR/lock               held by the study that writes
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import filelock

from clsight.errors import StudyError
from clsight.study.packing import HISTORY_FILE, RECORD_FILE, RUN_FILE, TIME_FILE, to_json
from clsight.study.planned_runs import PlannedRun

PLAN_FILE: Final = "study.json"
FORMAT: Final = "clsight study"
_RUNS: Final = "runs"
_FAILED: Final = "failed"
_UNFINISHED: Final = ".unfinished-"


@dataclass(frozen=True)
class StoredRun:
    """A finished run in its folder.

    Attributes:
        key: Of the run.
        folder: With its files; of a run that is compared, a model folder that `clsight.load` opens.
        planned: What was asked.
        outcome: Numbers by name; what is undefined is NaN.
        diverged: Whether the loss stopped being finite.
        seconds: It took.
    """

    key: str
    folder: Path
    planned: PlannedRun
    outcome: Mapping[str, float]
    diverged: bool
    seconds: float

    @property
    def history(self) -> Path:
        """The table of its training, a CSV with a row per epoch."""
        return self.folder / HISTORY_FILE

    @property
    def record(self) -> Path:
        """The record of its probe samples with the dim `step`; no file where no CLS is in the sequence."""
        return self.folder / RECORD_FILE


class Store:
    """The runs in a study's folder. Reading needs no lock: what is there is whole.

    Args:
        folder: Of the study.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for this study, made if it is not there; remove what a killed one left unfinished.

        Raises:
            StudyError: If another study writes it, it holds other things, or it cannot be written.
        """
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_ours()
            lock = filelock.FileLock(self.folder / "lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout as error:
                raise StudyError(
                    str(self.folder),
                    expected="a folder that no other study writes",
                    got="one that a running study holds",
                    next_step="Wait for that study to end, or give another folder with --out",
                ) from error
        try:
            with _told(self.folder):
                for name in (_RUNS, _FAILED):
                    (self.folder / name).mkdir(exist_ok=True)
                for left in self.folder.glob(f"{_RUNS}/{_UNFINISHED}*"):
                    shutil.rmtree(left)
            yield
        finally:
            lock.release()

    def has(self, key: str) -> bool:
        """Tell whether a run is finished."""
        return (self.folder / _RUNS / key).is_dir()

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a run: all of them, on the disk, before the run is there.

        Args:
            key: Of the run; one that is there already stays as it is.
            files: By their path inside the folder of the run.

        Raises:
            StudyError: If the disk refuses; nothing of the run is there then.
        """
        if self.has(key):
            return
        runs = self.folder / _RUNS
        with _told(self.folder), tempfile.TemporaryDirectory(dir=runs, prefix=_UNFINISHED) as work:
            new = Path(work, key)
            for name, data in files.items():
                _write(new.joinpath(*PurePosixPath(name).parts), data)
            for folder in {new, *(path for path in new.rglob("*") if path.is_dir())}:
                _sync_folder(folder)
            new.rename(runs / key)
            _sync_folder(runs)
            self._failure_file(key).unlink(missing_ok=True)

    def add_failure(self, key: str, run: PlannedRun, error: str, details: str = "") -> None:
        """Record that a run ended in an error, with its traceback or what else is known."""
        self._write_whole(
            self._failure_file(key), {**run.to_dict(), "error": error, "details": details.splitlines()}
        )

    def failure(self, key: str) -> str:
        """Return the error that a run ended in; nothing if it did not, or was made since."""
        file = self._failure_file(key)
        if self.has(key) or not file.is_file():
            return ""
        return str(json.loads(file.read_text(encoding="utf-8"))["error"])

    def run(self, key: str) -> StoredRun:
        """Return a finished run.

        Raises:
            StudyError: If it is not there, or its files were changed.
        """
        folder = self.folder / _RUNS / key
        try:
            told = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
            time = json.loads((folder / TIME_FILE).read_text(encoding="utf-8"))
            outcome = {name: float(value) for name, value in told["outcome"].items()}
            planned = PlannedRun.from_dict(told)
            return StoredRun(key, folder, planned, outcome, bool(told["diverged"]), float(time["seconds"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudyError(
                str(folder),
                expected="the files of a finished run",
                got=f"{type(error).__name__}: {error}",
                next_step="Remove that folder and run the study again: only this run is made anew",
            ) from error

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Write what the study asks; an older plan is replaced, its runs stay."""
        self._write_whole(self.folder / PLAN_FILE, {"format": FORMAT, **plan})

    def plan(self) -> dict[str, Any]:
        """Return what `write_plan` wrote.

        Raises:
            StudyError: If the folder is not that of a study.
        """
        file = self.folder / PLAN_FILE
        try:
            plan = json.loads(file.read_text(encoding="utf-8"))
            found = plan["format"] == FORMAT
        except (OSError, ValueError, KeyError, TypeError):
            found = False
        if not found:
            raise StudyError(
                str(self.folder),
                expected=f"the folder of a study, with its {PLAN_FILE}",
                got="none" if not file.exists() else f"a {PLAN_FILE} that is none of clsight's",
                next_step="Make one: clsight study run FILE --out DIR",
            )
        return dict(plan)

    def has_plan(self) -> bool:
        """Tell whether a study was ever begun here."""
        return (self.folder / PLAN_FILE).is_file()

    def _check_ours(self) -> None:
        there = {path.name for path in self.folder.iterdir()} - {"lock"}
        if there and not {PLAN_FILE, _RUNS} & there:
            raise StudyError(
                str(self.folder),
                expected="a new or empty folder, or that of a study",
                got=f"a folder with {', '.join(sorted(there)[:3])}{' …' if len(there) > 3 else ''}",
                next_step="Give another folder with --out",
            )

    def _failure_file(self, key: str) -> Path:
        return self.folder / _FAILED / f"{key}.json"

    def _write_whole(self, file: Path, values: Mapping[str, Any]) -> None:
        with _told(self.folder):
            new = file.with_name(f"{file.name}.new")
            _write(new, to_json(values).encode())
            os.replace(new, file)
            _sync_folder(file.parent)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what the system refuses into a sentence."""
    try:
        yield
    except OSError as error:
        raise StudyError(
            str(folder),
            expected="a folder that can be written",
            got=error.strerror or str(error),
            where=str(error.filename or ""),
            next_step="Free disk space or permissions, then give the same command: finished runs stay",
        ) from error
