"""Watch any training: what [CLS] sees every so many steps, in a record that opens while it goes on.

Only `Tracker` and the callbacks need torch: a training record opens on a machine without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clsight.tracking.training_folder import open_training

if TYPE_CHECKING:
    from clsight.tracking.lightning_callback import LightningCallback
    from clsight.tracking.tracker import Tracker, TrackingWarning
    from clsight.tracking.transformers_callback import TransformersCallback

__all__ = ["LightningCallback", "Tracker", "TrackingWarning", "TransformersCallback", "open_training"]

_HOMES = {
    "LightningCallback": "lightning_callback",
    "Tracker": "tracker",
    "TrackingWarning": "tracker",
    "TransformersCallback": "transformers_callback",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch, transformers or lightning on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
