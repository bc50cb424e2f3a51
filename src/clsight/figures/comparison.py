"""What the init strategy changes: the strategies side by side on one example, and their differences."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from clsight.errors import FigureError
from clsight.figures.color_limits import checked_limit, limit_of
from clsight.figures.labels import TITLES, literal, shortened
from clsight.figures.theme import SEQUENTIAL, bar, color_bar, palette, styled
from clsight.figures.tiles import Tile, edges, mosaic, tile_of
from clsight.figures.view import View, one_of, view_of
from clsight.schema import Direction


def compare_strategies(
    stacked: xr.Dataset,
    *,
    sample: int,
    layer: int,
    head: int | None = None,
    direction: Direction = "attends_to",
    reference: str = "learned",
    zmax: float | None = None,
    dark: bool = False,
) -> go.Figure:
    """Return each strategy's weights on one example, and below each its difference to the reference.

    All weights share one color scale from 0, all differences another, centered at 0. Patches appear as maps,
    other tokens as strips, a row per strategy.

    Args:
        stacked: Records stacked along `strategy`.
        sample: Label on the `sample` dim.
        layer: Label on the `layer` dim.
        head: Label on the `head` dim; None for the mean over heads.
        direction: `attends_to` (the CLS row) or `attended_by` (the CLS column).
        reference: The strategy to compare with.
        zmax: Upper end of the color scale of weights; see `color_limit`. Default: fits this example.
        dark: For a dark page.

    Returns:
        Data 0: the weights. Data 1: the differences, NaN for the reference itself.

    Raises:
        FigureError: If the record is not stacked along `strategy`, or a label is not there.
        RecordError: If the record lacks the weights.
    """
    names = _strategies(stacked)
    one_of(names, reference, "strategy", asked_by="compare_strategies")
    views = [
        view_of(stacked, sample=sample, direction=direction, strategy=name, asked_by="compare_strategies")
        for name in names
    ]
    weights = np.stack([_weights(view, layer, head) for view in views])
    change = weights - weights[names.index(reference)]
    change[names.index(reference)] = np.nan
    limit = checked_limit(zmax, asked_by="compare_strategies") or limit_of(weights, views[0].cls)
    tile = tile_of(views[0])
    draw = _maps if tile.is_map else _strips
    fig = draw(views[0], tile, names, weights, change)
    _color(fig, weights, change, limit, dark=dark)
    where = f"layer {layer}, {'mean over heads' if head is None else f'head {head}'}"
    title = f"{TITLES[direction]}, by init strategy: {where}"
    styled(fig, title=title, height=_height(tile, len(names)), dark=dark)
    return fig.update_layout(margin={"t": 76 if tile.is_map else 52})


def _strategies(stacked: xr.Dataset) -> list[str]:
    if "strategy" not in stacked.dims:
        raise FigureError(
            "compare_strategies",
            expected="records stacked along `strategy`",
            got=f"dims ({', '.join(map(str, stacked.dims))})",
            next_step='Stack records of the same inputs: clsight.stack({"learned": a, "zeros": b})',
        )
    return [str(name) for name in stacked["strategy"].values]


def _weights(view: View, layer: int, head: int | None) -> NDArray[np.float32]:
    """Return the weights [token] of one head, or their mean over heads."""
    if head is not None:
        return view.of(layer, head, asked_by="compare_strategies")
    mean: NDArray[np.float32] = view.weights[
        one_of(view.layers, layer, "layer", asked_by="compare_strategies")
    ].mean(axis=0)
    return mean


def _maps(
    view: View, tile: Tile, names: list[str], weights: NDArray[np.float32], change: NDArray[np.float32]
) -> go.Figure:
    """Return two rows of tiles, a column per strategy."""
    fig = make_subplots(rows=2, cols=1, vertical_spacing=0.06)
    height, width = tile.order.shape
    places = list(range(len(names)))
    tokens = np.array([*view.tokens, ""], dtype=object)[tile.order]
    texts = np.array([f"{literal(name)}<br>" for name in names], dtype=object)[:, None, None] + tokens
    for row, values in enumerate((weights, change), start=1):
        heatmap = go.Heatmap(
            z=mosaic(tile.filled(values)[None]),
            x=edges(places, width),
            y=edges([0], height),
            text=mosaic(texts[None]).tolist(),
            **_trace(row),
        )
        fig.add_trace(heatmap, row=row, col=1)
    bare = {"constrain": "domain", "showticklabels": False}
    fig.update_xaxes(range=[-0.5, len(names) - 0.5], constraintoward="left", **bare)
    fig.update_xaxes(side="top", **_named(names) | {"showticklabels": True}, row=1)
    fig.update_yaxes(range=[0.5, -0.5], constraintoward="top", **bare)
    for row, anchor in ((1, "x"), (2, "x2")):
        fig.update_yaxes(scaleanchor=anchor, scaleratio=tile.aspect, row=row)
    _mark_reference(fig, change, along="x")
    return fig


def _strips(
    view: View, tile: Tile, names: list[str], weights: NDArray[np.float32], change: NDArray[np.float32]
) -> go.Figure:
    """Return two blocks of strips, a row per strategy, tokens from left to right."""
    del tile  # words stand in one line here, however they are tiled elsewhere
    fig = make_subplots(rows=2, cols=1, vertical_spacing=0.06, shared_xaxes=True)
    texts = [[f"{literal(name)}<br>{token}" for token in view.tokens] for name in names]
    for row, values in enumerate((weights, change), start=1):
        fig.add_trace(go.Heatmap(z=values, text=texts, ygap=4, **_trace(row)), row=row, col=1)
    step = math.ceil(len(view.plain) / 40)
    shown = list(range(0, len(view.plain), step))
    labels = [literal(shortened(view.plain[place], 14)) for place in shown]
    fig.update_xaxes(tickvals=shown, ticktext=labels, tickangle=-60, row=2)
    fig.update_yaxes(autorange="reversed", **_named(names))
    _mark_reference(fig, change, along="y", middle=(len(view.plain) - 1) / 2)
    return fig


def _trace(row: int) -> dict[str, Any]:
    """Return what the traces of weights (row 1) and differences (row 2) have of their own."""
    word, digits = ("weight", ".4f") if row == 1 else ("difference", "+.4f")
    return {
        "coloraxis": "coloraxis" if row == 1 else "coloraxis2",
        "hoverongaps": False,
        "hovertemplate": f"%{{text}}<br>{word} %{{z:{digits}}}<extra></extra>",
    }


def _named(names: list[str]) -> dict[str, Any]:
    return {"tickvals": list(range(len(names))), "ticktext": [literal(name) for name in names]}


def _mark_reference(fig: go.Figure, change: NDArray[np.float32], *, along: str, middle: float = 0.0) -> None:
    place = int(np.flatnonzero(np.isnan(change).all(axis=1))[0])
    x, y = (place, 0.0) if along == "x" else (middle, place)
    fig.add_annotation(x=x, y=y, xref="x2", yref="y2", text="reference", showarrow=False, opacity=0.6)


def _color(
    fig: go.Figure, weights: NDArray[np.float32], change: NDArray[np.float32], limit: float, *, dark: bool
) -> None:
    largest = max(float(np.nanmax(np.abs(change), initial=0.0)), 1e-6)
    clipped = bool(np.nanmax(weights, initial=0.0) > limit * 1.0001)
    fig.update_layout(
        coloraxis={
            "colorscale": SEQUENTIAL,
            "cmin": 0,
            "cmax": limit,
            "colorbar": color_bar("weight", limit=limit, clipped=clipped) | {"len": 120},
        },
        coloraxis2={
            "colorscale": [list(stop) for stop in palette(dark=dark).diverging],
            "cmin": -largest,
            "cmid": 0,
            "cmax": largest,
            "colorbar": bar("difference") | {"len": 120, "y": 0.47, "tickformat": "+.2g"},
        },
    )


def _height(tile: Tile, count: int) -> int:
    """Return pixels for two rows of maps, or two blocks of strips and their labels."""
    if tile.is_map:
        return int(140 + 2 * min(240.0, 820 / count) * tile.aspect)
    return 240 + 2 * max(90, 34 * count)
