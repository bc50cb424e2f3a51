"""What is measured of a trained model of a study: how CLS attends, what it is for, how sure answers are.

Each returns numbers by name; what is undefined for a model is NaN.
"""

from clsight.study.measurements.attending import attention_at_cls, share_of_initial_vector
from clsight.study.measurements.cutting import effect_of_cutting_cls
from clsight.study.measurements.drawing import spread_over_draws
from clsight.study.measurements.starting import gradient_at_start
from clsight.study.measurements.swapping import accuracy_after_swaps

__all__ = [
    "accuracy_after_swaps",
    "attention_at_cls",
    "effect_of_cutting_cls",
    "gradient_at_start",
    "share_of_initial_vector",
    "spread_over_draws",
]
