"""Where the numbers of a study come from: the command that makes them again, versions, and the code."""

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from clsight import __version__
from clsight.errors import ClsightError
from clsight.study.code_version import code_version
from clsight.study.keys import key_of
from clsight.study.results import StudyResults
from clsight.study.working import trained

_PACKAGES: Final = ("torch", "numpy", "scipy", "xarray")
STUDY_FILE: Final = "study.toml"


@dataclass(frozen=True)
class Origin:
    """Where the numbers of a study come from.

    Attributes:
        command: Makes the study again from its file, saved under the name that the command has.
        file: The study file, every default included.
        versions: Of the packages here, by name.
        code: Hash of the code here that makes runs.
        same: How many finished runs were made by this code with these versions of torch, numpy and Python.
        other: How many were made by others, or cannot be told.
    """

    command: str
    file: str
    versions: Mapping[str, str]
    code: str
    same: int
    other: int

    @property
    def sentence(self) -> str:
        """Which runs the versions belong to."""
        if not self.other:
            return f"All {self.same} finished runs were made by this code with these versions."
        return (
            f"{self.same} of {self.same + self.other} finished runs were made by this code with these "
            "versions; the others by another code or version, or with a file that is not here any more."
        )


def origin_of(results: StudyResults, *, module: str = trained.__module__) -> Origin:
    """Return where the numbers of a study come from, as far as its folder and this installation tell.

    Args:
        results: Of the study.
        module: Of the function that made the runs.
    """
    runs = [run for arm in results.arms for run in arm.runs.values()]
    same = sum(_key(run.planned, module) == run.key for run in runs)
    found = {"clsight": __version__, "python": platform.python_version()}
    return Origin(
        command=_command(results),
        file="\n".join(results.study_file),
        versions={**found, **{name: version(name) for name in _PACKAGES}},
        code=code_version(module),
        same=same,
        other=len(runs) - same,
    )


def _command(results: StudyResults) -> str:
    tasks = dict.fromkeys(str(arm.settings.get("task", "")) for arm in results.arms)
    leave = [f"--allow-task {shlex.quote(task)}" for task in tasks if ":" in task]
    return " ".join(["clsight study run", STUDY_FILE, "--out", "study", *leave])


def _key(planned: Any, module: str) -> str:
    try:
        return key_of(planned, module)
    except ClsightError:  # a task or file of the user's own that is not here: its key cannot be told
        return ""
