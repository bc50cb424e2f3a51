"""A run to be made: settings and what is asked of them, under a key that tells if it is done."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import torch

from clsight.study.run_settings import RunSettings

_DECIDING = (
    "cls_token.py",
    "cls_strategy.py",
    "model_config.py",
    "models.py",
    "study/fitting.py",
    "study/training.py",
)
"""Source files that decide the numbers of a run, beside the tasks and the measurements."""


@dataclass(frozen=True)
class Job:
    """A run to be made.

    Attributes:
        settings: What is trained.
        evaluate: `test` for a result; `validation` to choose a learning rate.
        probe_steps: At how many steps a record is kept.
    """

    settings: RunSettings
    evaluate: Literal["validation", "test"] = "test"
    probe_steps: int = 0

    @property
    def key(self) -> str:
        """16 hexadecimal digits that follow from the settings, the code and torch's version."""
        told = {**self.described(), "code": code_version(), "torch": torch.__version__}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def described(self) -> dict[str, Any]:
        """Return what decides the run as plain values."""
        return {
            "settings": self.settings.to_dict(),
            "evaluate": self.evaluate,
            "probe_steps": self.probe_steps,
        }


@cache
def code_version() -> str:
    """Return a hash of the source files that decide the numbers of a run."""
    package = files("clsight")
    names = [
        *_DECIDING,
        *(f"study/{part}/{file.name}" for part in ("tasks", "measurements") for file in sources(part)),
    ]
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(name.encode() + b"\0" + package.joinpath(name).read_bytes())
    return digest.hexdigest()[:16]


def sources(part: str) -> list[Any]:
    """Return the source files of a part of this package."""
    return [file for file in files("clsight.study").joinpath(part).iterdir() if file.name.endswith(".py")]
