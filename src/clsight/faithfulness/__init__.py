"""How far to trust an attribution of what CLS uses, for this model? Tokens go, and the answer tells.

Each public function is one line here. `METRICS` says of each metric what it asks and which way is better.
"""

from clsight.faithfulness.attributions import ATTRIBUTIONS
from clsight.faithfulness.cascade import randomization_cascade
from clsight.faithfulness.comparing import compare, score_batches
from clsight.faithfulness.curve_scores import (
    aopc_comprehensiveness,
    aopc_sufficiency,
    comprehensiveness,
    deletion_area,
    insertion_area,
    sufficiency,
)
from clsight.faithfulness.curves import removal_curves
from clsight.faithfulness.evidence import auprc, pointing_game
from clsight.faithfulness.registry import METRICS, Metric
from clsight.faithfulness.single_tokens import leave_one_out, leave_one_out_tau
from clsight.faithfulness.summaries import summarize

__all__ = [
    "ATTRIBUTIONS",
    "METRICS",
    "Metric",
    "aopc_comprehensiveness",
    "aopc_sufficiency",
    "auprc",
    "compare",
    "comprehensiveness",
    "deletion_area",
    "insertion_area",
    "leave_one_out",
    "leave_one_out_tau",
    "pointing_game",
    "randomization_cascade",
    "removal_curves",
    "score_batches",
    "sufficiency",
    "summarize",
]
