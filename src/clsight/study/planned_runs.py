"""A run that a study asks for, before it has a result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clsight.study.run_settings import RunSettings

Part = Literal["validation", "test"]


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """All that a worker needs to make a run.

    Attributes:
        settings: Of the model and its training.
        evaluate: The part of the data that its outcome is measured on: validation data where a learning rate
            is chosen, else test data.
        probe_steps: At how many training steps what [CLS] sees is recorded.
        allow_task: Whether a task of the user's own may be imported.
    """

    settings: RunSettings
    evaluate: Part
    probe_steps: int
    allow_task: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what decides the result, as plain values; permission does not."""
        return {
            "settings": self.settings.to_dict(),
            "evaluate": self.evaluate,
            "probe_steps": self.probe_steps,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PlannedRun":
        """Build a run from what `to_dict` gave."""
        settings = RunSettings.from_dict(values["settings"])
        return cls(settings=settings, evaluate=values["evaluate"], probe_steps=values["probe_steps"])


Work = Callable[[PlannedRun], dict[str, bytes]]
"""What a worker does: a run in, the files of its result out. A function of a module, so that it travels."""
