"""What changes if the model is changed? Further forward passes of a model, in which one thing is different.

Each public function is one line here. `INTERVENTIONS` lists them with what each asks and what it costs.
"""

from clsight.interventions.attention_knockout import knockout as knockout
from clsight.interventions.registry import INTERVENTIONS as INTERVENTIONS
from clsight.interventions.zeroed_values import value_zeroing as value_zeroing

__all__ = [
    "INTERVENTIONS",
    "knockout",
    "value_zeroing",
]
