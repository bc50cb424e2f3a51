"""The key of a run: the same for all that gives the same result, another once something may change it."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from clsight.errors import StudyError
from clsight.study.code_version import code_version
from clsight.study.planned_runs import PlannedRun

DIGITS: Final = 24
"""Hexadecimal digits of a key: of a million runs, two share one with a chance of 1 in 10^17."""

_PACKAGES: Final = ("torch", "numpy")


def key_of(run: PlannedRun, module: str) -> str:
    """Return the key of a run.

    Args:
        run: What is asked for.
        module: The module of the function that makes it: what that can reach is part of the key.

    Raises:
        StudyError: If a task of the user's own cannot be found, or a file named in its options not be read.
    """
    text = json.dumps(identity(run, module), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def identity(run: PlannedRun, module: str) -> dict[str, Any]:
    """Return all that may change the result of a run, as plain values: the key is its hash."""
    files = {path.name: _hash_of(path) for path in _files_named_in(run.settings.task_options)}
    if ":" in run.settings.task:
        files["task"] = _hash_of(_source_of(run.settings.task))
    versions = {name: version(name) for name in _PACKAGES}
    versions["python"] = ".".join(platform.python_version_tuple()[:2])
    return {**run.to_dict(), "files": files, "code": code_version(module), "versions": versions}


def _files_named_in(options: Mapping[str, Any]) -> Iterator[Path]:
    """Yield each file that an option of a task names by its path."""
    for value in options.values():
        if isinstance(value, str) and "\0" not in value and len(value) < 4096 and Path(value).is_file():
            yield Path(value)


def _source_of(task: str) -> Path:
    """Return the source file of a task of the user's own, `package.module:task`."""
    name = task.partition(":")[0]
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        step = "Start from the folder it is imported from, or install it"
        raise StudyError(task, expected="a task whose module is found", got=f"no {name}", next_step=step)
    return Path(spec.origin)


def _hash_of(path: Path) -> str:
    try:
        stat = path.stat()
        return _hash_as_it_is(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        step = "Correct the path in the study file"
        raise StudyError(
            str(path), expected="a file that can be read", got=str(error), next_step=step
        ) from error


@cache
def _hash_as_it_is(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
