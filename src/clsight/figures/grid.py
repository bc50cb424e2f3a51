"""The overview: every layer and head of one example as a small map, in one heatmap trace."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from clsight.figures.color_limits import checked_limit, limit_of
from clsight.figures.labels import TITLES
from clsight.figures.theme import SEQUENTIAL, color_bar, palette, styled
from clsight.figures.tiles import GAP, Tile, centers, edges, mosaic, tile_of
from clsight.figures.view import View, one_of, view_of
from clsight.schema import Direction

_CELLS_WITH_NAMES = 3_000
_CELLS_WITH_TEXT = 12_000
_CELLS_WITH_NUMBER = 40_000


def layer_head_grid(
    record: xr.Dataset,
    *,
    sample: int = 0,
    direction: Direction = "attends_to",
    selected: tuple[int, int] | None = None,
    strategy: Any = None,
    zmax: float | None = None,
    dark: bool = False,
) -> go.Figure:
    """Return all CLS weights of one example: a row per layer, a column per head, a tile of tokens in each.

    A tile shows patches as a map below their prefix tokens ([CLS] first), other tokens in reading order.
    It is one heatmap trace over one float32 matrix; `cell_at` turns a clicked point into layer and head.

    Args:
        record: A plain or stacked record.
        sample: Label on the `sample` dim.
        direction: `attends_to` (the CLS row) or `attended_by` (the CLS column).
        selected: Labels of the layer and head to outline.
        strategy: Which member of a stacked record.
        zmax: Upper end of the color scale, from 0; see `color_limit`. Default: fits this example.
        dark: For a dark page.

    Raises:
        FigureError: If sample, selection, strategy or direction is not there, or `zmax` not positive.
        RecordError: If the record lacks the weights.
    """
    view = view_of(record, sample=sample, direction=direction, strategy=strategy, asked_by="layer_head_grid")
    tile = tile_of(view)
    limit = checked_limit(zmax, asked_by="layer_head_grid") or limit_of(view.weights, view.cls)
    fig = go.Figure(_heatmap(view, tile, limit))
    fig.update_xaxes(title_text="head", side="bottom", **_ticks(view.heads))
    fig.update_yaxes(title_text="layer", **_ticks(view.layers, downward=True))
    if tile.is_map:
        fig.update_yaxes(scaleanchor="x", scaleratio=tile.aspect, constrain="domain", constraintoward="top")
        fig.update_xaxes(constrain="domain", constraintoward="left")
    if selected is not None:
        _outline(fig, view, selected, palette(dark=dark).accent)
    return styled(fig, title=TITLES[direction], height=_height(view, tile), dark=dark)


def cell_at(record: xr.Dataset, x: float, y: float) -> tuple[int, int] | None:
    """Return the labels of the layer and head at a point of `layer_head_grid`, None outside the tiles.

    Args:
        record: The record that was drawn.
        x: Horizontal coordinate of the point, as in plotly's click and hover data.
        y: Vertical coordinate.
    """
    layers, heads = (np.atleast_1d(record[dim].values).tolist() for dim in ("layer", "head"))
    try:
        layer = layers[centers(layers).index(round(y))]
        return layer, heads[centers(heads).index(round(x))]
    except ValueError:
        return None


def _heatmap(view: View, tile: Tile, limit: float) -> go.Heatmap:
    tiles = tile.filled(view.weights)
    height, width = tile.order.shape
    clipped = bool(np.nanmax(view.weights, initial=0.0) > limit)
    return go.Heatmap(
        z=mosaic(tiles),
        x=edges(centers(view.heads), width),
        y=edges(centers(view.layers), height),
        zmin=0,
        zmax=limit,
        colorscale=SEQUENTIAL,
        colorbar=color_bar("weight", limit=limit, clipped=clipped),
        hoverongaps=False,
        **_hover(view, tile),
    )


def _hover(view: View, tile: Tile) -> dict[str, Any]:
    """Return what hovering tells: less in a large grid, whose texts would outweigh its weights."""
    grid = (len(view.layers), len(view.heads))
    cells = tile.order.size * grid[0] * grid[1]
    where = "layer %{y:.0f}, head %{x:.0f}<br>"
    if cells > _CELLS_WITH_TEXT:
        uniform = f"weight %{{z:.4f}} (uniform: {1 / len(view.tokens):.4f})<extra></extra>"
        if cells > _CELLS_WITH_NUMBER:
            return {"hovertemplate": where + uniform}
        numbers = np.broadcast_to(tile.order.astype(np.int16), (*grid, *tile.order.shape))
        return {"customdata": mosaic(numbers), "hovertemplate": f"{where}token %{{customdata}}<br>{uniform}"}
    tokens = np.array([*view.tokens, ""], dtype=object)[tile.order]
    texts = np.broadcast_to(tokens, (*grid, *tokens.shape))
    if cells <= _CELLS_WITH_NAMES:
        names = np.array([f"{name}, head " for name in view.layer_names], dtype=object)
        heads = np.array([f"{head}<br>" for head in view.heads], dtype=object)
        texts, where = (names[:, None] + heads)[..., None, None] + texts, ""
    return {
        "text": mosaic(texts).tolist(),
        "customdata": mosaic(tile.filled(view.weights * np.float32(len(view.tokens)))),
        "hovertemplate": where + "%{text}<br>weight %{z:.4f}, %{customdata:.2f} × uniform<extra></extra>",
    }


def _ticks(labels: list[int], *, downward: bool = False) -> dict[str, Any]:
    places = centers(labels)
    ends = [places[0] - 0.5, places[-1] + 0.5]
    return {
        "tickvals": places,
        "ticktext": [str(label) for label in labels],
        "range": ends[::-1] if downward else ends,
        "ticks": "",
        "showline": False,
    }


def _outline(fig: go.Figure, view: View, selected: tuple[int, int], color: str) -> None:
    layer = centers(view.layers)[one_of(view.layers, selected[0], "layer", asked_by="layer_head_grid")]
    head = centers(view.heads)[one_of(view.heads, selected[1], "head", asked_by="layer_head_grid")]
    reach = 0.5 - GAP / 5
    fig.add_shape(
        type="rect",
        x0=head - reach,
        x1=head + reach,
        y0=layer - reach,
        y1=layer + reach,
        line={"color": color, "width": 2.5},
        name="selected",
    )


def _height(view: View, tile: Tile) -> int:
    """Return pixels that leave each tile readable on a page about 900 pixels wide."""
    if tile.is_map:
        per_layer = min(150.0, 820 / len(view.heads)) * tile.aspect
    else:
        per_layer = max(30.0, min(90.0, 7.0 * tile.order.shape[0]))
    return int(min(1400, max(260, 110 + per_layer * len(view.layers))))
