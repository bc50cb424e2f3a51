"""Figures: records and measures as plotly figures. No torch, no dash: they work in any notebook or page."""

from clsight.figures.color_limits import color_limit
from clsight.figures.grid import cell_at, layer_head_grid
from clsight.figures.theme import CONFIG

__all__ = ["CONFIG", "cell_at", "color_limit", "layer_head_grid"]
