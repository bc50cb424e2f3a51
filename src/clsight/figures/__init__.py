"""Figures: records and measures as plotly figures. No torch, no dash: they work in any notebook or page."""

from clsight.figures.bands import mean_curves
from clsight.figures.color_limits import color_limit
from clsight.figures.comparison import compare_strategies
from clsight.figures.curves import layer_curve
from clsight.figures.data_set import head_scatter, place_profile, query_key_scatter, sample_spread
from clsight.figures.forest import interval_forest
from clsight.figures.grid import cell_at, layer_head_grid
from clsight.figures.inside import head_vectors, key_products, token_scores
from clsight.figures.measures import measure_grid
from clsight.figures.overlay import patch_overlay
from clsight.figures.probe_maps import attention_maps
from clsight.figures.removal import faithfulness_curves
from clsight.figures.strip import token_strip
from clsight.figures.theme import CONFIG

__all__ = [
    "CONFIG",
    "attention_maps",
    "cell_at",
    "color_limit",
    "compare_strategies",
    "faithfulness_curves",
    "head_scatter",
    "head_vectors",
    "interval_forest",
    "key_products",
    "layer_curve",
    "layer_head_grid",
    "mean_curves",
    "measure_grid",
    "patch_overlay",
    "place_profile",
    "query_key_scatter",
    "sample_spread",
    "token_scores",
    "token_strip",
]
