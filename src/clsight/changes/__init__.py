"""What changed between two checkpoints, asked the same? Before and after fine-tuning, head by head.

Two records compare on a machine without torch; two loaded models are captured first.
"""

from clsight.changes.comparing import compare
from clsight.changes.report import Changes

__all__ = ["Changes", "compare"]
