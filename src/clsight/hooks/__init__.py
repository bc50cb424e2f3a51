"""Capture: forward hooks say which layer runs, the attention operation says what CLS sees."""

from clsight.hooks.recorder import Recorder, capture

__all__ = ["Recorder", "capture"]
