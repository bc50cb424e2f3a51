"""Measures: what the CLS row and column of a record say, as labeled arrays.

Each measure is one file in this folder, found on import: it decorates its function with `registry.measure`,
which lists it in `MEASURES` and makes it available here by name. No torch, no plotly: a record is enough.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from clsight.analysis.agreement import head_agreement, head_clusters
from clsight.analysis.alignment import cka
from clsight.analysis.comparison import distance, match_heads
from clsight.analysis.cosines import similarity
from clsight.analysis.differences import difference
from clsight.analysis.gradients import gradient_times_attention
from clsight.analysis.hidden_states import hidden_norm, largest_activation, massive_activations
from clsight.analysis.means import mean_attended_by, mean_attends_to
from clsight.analysis.mixing import received, rollout
from clsight.analysis.norms import contribution, norm_weighted
from clsight.analysis.over_heads import head_max
from clsight.analysis.profiles import position_profile
from clsight.analysis.query_key_map import joint_map
from clsight.analysis.ranking import top_tokens
from clsight.analysis.registry import MEASURES, Measure
from clsight.analysis.roles import attends_to_vs_attended_by
from clsight.analysis.self_attention import cls_self_attention
from clsight.analysis.shares import mass_on, max_share
from clsight.analysis.sinks import sink_rate, token_sink_rate
from clsight.analysis.spread import effective_tokens, entropy
from clsight.analysis.uniform_share import lift
from clsight.errors import did_you_mean

__all__ = [
    "MEASURES",
    "Measure",
    "attends_to_vs_attended_by",
    "cka",
    "cls_self_attention",
    "contribution",
    "difference",
    "distance",
    "effective_tokens",
    "entropy",
    "gradient_times_attention",
    "head_agreement",
    "head_clusters",
    "head_max",
    "hidden_norm",
    "joint_map",
    "largest_activation",
    "lift",
    "mass_on",
    "massive_activations",
    "match_heads",
    "max_share",
    "mean_attended_by",
    "mean_attends_to",
    "norm_weighted",
    "position_profile",
    "received",
    "rollout",
    "similarity",
    "sink_rate",
    "token_sink_rate",
    "top_tokens",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def __getattr__(name: str) -> Any:
    """Return a measure from a file that this page does not name (PEP 562)."""
    if name in MEASURES:
        return MEASURES[name].function
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}. {did_you_mean(name, [*__all__, *MEASURES])}"
    )
