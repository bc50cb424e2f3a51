"""Capture: forward hooks say which layer runs, the attention operation says what CLS sees."""

from clsight.hooks.keeping import KEEP
from clsight.hooks.recorder import Recorder
from clsight.hooks.single_call import capture
from clsight.hooks.streaming import capture_batches

__all__ = ["KEEP", "Recorder", "capture", "capture_batches"]
