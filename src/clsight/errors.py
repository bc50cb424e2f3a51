"""The one error family of clsight, and the one form its messages have.

    ClsightError
    ├── CaptureError      the forward pass cannot be captured, or its map would be wrong
    ├── CheckpointError   a model folder or file cannot be loaded
    ├── RecordError       a record is missing, foreign, or lacks what a function needs
    ├── TrackingError     a training cannot be tracked as asked
    ├── StatisticsError   a statistic cannot be computed from these values or settings
    ├── FigureError       a figure cannot be drawn from what was given
    └── AppError          the dashboard cannot start or show a view

Each message reads: `subject`: expected <what>, but got <actual>. <where>. <one next step>.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ClsightError(Exception):
    """A problem told in one message: subject, expected, got, where, next step.

    Args:
        subject: What the message is about; shown in backticks.
        expected: What would have been right.
        got: What was found instead.
        where: Optional place, such as a layer name or a file.
        next_step: One thing the user can do now.
    """

    def __init__(self, subject: str, *, expected: str, got: str, where: str = "", next_step: str) -> None:
        self.subject = subject
        self.expected = expected
        self.got = got
        self.where = where
        self.next_step = next_step
        parts = [f"`{subject}`: expected {expected}, but got {got}", where, next_step]
        super().__init__(" ".join(f"{part.rstrip('.')}." for part in parts if part))


class CaptureError(ClsightError):
    """The forward pass cannot be captured, or its map would be wrong."""


class CheckpointError(ClsightError):
    """A model folder or file cannot be loaded."""


class RecordError(ClsightError):
    """A record is missing, foreign, or lacks what a function needs."""


class StatisticsError(ClsightError):
    """A statistic cannot be computed from these values or settings."""


class StudyError(ClsightError):
    """A study, or a run of it, cannot be read, run or reported."""


class TrackingError(ClsightError):
    """A training cannot be tracked as asked."""


class FigureError(ClsightError):
    """A figure cannot be drawn from what was given."""


class AppError(ClsightError):
    """The dashboard cannot start or show a view."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return a next step that names the nearest option, if one is near, and all options."""
    names = sorted(options)
    near = get_close_matches(name, names, n=1)
    return (f"Did you mean `{near[0]}`? " if near else "") + f"Options: {', '.join(names)}"
