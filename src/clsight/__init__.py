"""See what your [CLS] token sees.

clsight measures, per layer and head of any PyTorch transformer encoder, what the [CLS] position attends to
and who attends to it. The public names below load on first use, so that `import clsight` stays light and a
saved record can be analyzed and drawn on a machine without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsight import (
        analysis,
        changes,
        cls_token,
        doctor,
        errors,
        faithfulness,
        figures,
        hooks,
        interventions,
        loading,
        models,
        records,
        statistics,
        study,
        tracking,
    )
    from clsight.changes import Changes, compare
    from clsight.doctor import Finding, Findings, diagnose
    from clsight.errors import (
        AppError,
        CaptureError,
        CheckpointError,
        ClsightError,
        FigureError,
        RecordError,
        StatisticsError,
        StudyError,
        TrackingError,
    )
    from clsight.hooks import Recorder, capture, capture_batches
    from clsight.loading import ClsVector, Examples, Prepared, Subject, load, sample_models_dir, subject_of
    from clsight.records import concat, open_record, save_record, stack

__version__ = "0.1.0"

__all__ = [
    "AppError",
    "CaptureError",
    "Changes",
    "CheckpointError",
    "ClsVector",
    "ClsightError",
    "Examples",
    "FigureError",
    "Finding",
    "Findings",
    "Prepared",
    "RecordError",
    "Recorder",
    "StatisticsError",
    "StudyError",
    "Subject",
    "TrackingError",
    "__version__",
    "analysis",
    "capture",
    "capture_batches",
    "changes",
    "cls_token",
    "compare",
    "concat",
    "diagnose",
    "doctor",
    "errors",
    "faithfulness",
    "figures",
    "hooks",
    "interventions",
    "load",
    "loading",
    "models",
    "open_record",
    "records",
    "sample_models_dir",
    "save_record",
    "stack",
    "statistics",
    "study",
    "subject_of",
    "tracking",
]

_HOMES = {
    "clsight.changes": ("Changes", "compare"),
    "clsight.doctor": ("Finding", "Findings", "diagnose"),
    "clsight.errors": (
        "AppError",
        "CaptureError",
        "CheckpointError",
        "ClsightError",
        "FigureError",
        "RecordError",
        "StatisticsError",
        "StudyError",
        "TrackingError",
    ),
    "clsight.hooks": ("Recorder", "capture", "capture_batches"),
    "clsight.loading": (
        "ClsVector",
        "Examples",
        "Prepared",
        "Subject",
        "load",
        "sample_models_dir",
        "subject_of",
    ),
    "clsight.records": ("concat", "open_record", "save_record", "stack"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_SUBMODULES = frozenset(__all__) - _HOME_OF.keys() - {"__version__"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    elif name in _SUBMODULES:
        value = import_module(f"clsight.{name}")
    else:
        raise AttributeError(f"module 'clsight' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
