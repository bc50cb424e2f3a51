"""See what your [CLS] token sees.

clsight measures, per layer and head of any PyTorch transformer encoder, what the [CLS] position attends to
and who attends to it. The public names below load on first use, so that `import clsight` stays light and a
saved record can be analyzed and drawn on a machine without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Recorder": "clsight.hooks",
    "capture": "clsight.hooks",
    "Examples": "clsight.loading",
    "Prepared": "clsight.loading",
    "Subject": "clsight.loading",
    "load": "clsight.loading",
    "sample_models_dir": "clsight.loading",
    "concat": "clsight.records",
    "open_record": "clsight.records",
    "save_record": "clsight.records",
    "stack": "clsight.records",
    "CaptureError": "clsight.errors",
    "CheckpointError": "clsight.errors",
    "ClsightError": "clsight.errors",
    "RecordError": "clsight.errors",
}
_SUBMODULES = ("analysis", "cls_token", "errors", "figures", "hooks", "loading", "models", "records")

__all__ = sorted([*_PUBLIC, *_SUBMODULES, "__version__"])  # noqa: PLE0605 - sorted() of literals

if TYPE_CHECKING:
    from clsight import analysis, cls_token, errors, figures, hooks, loading, models, records
    from clsight.errors import CaptureError, CheckpointError, ClsightError, RecordError
    from clsight.hooks import Recorder, capture
    from clsight.loading import Examples, Prepared, Subject, load, sample_models_dir
    from clsight.records import concat, open_record, save_record, stack


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
    elif name in _SUBMODULES:
        value = import_module(f"clsight.{name}")
    else:
        raise AttributeError(f"module 'clsight' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
