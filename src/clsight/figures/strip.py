"""One head over its words: the tokens in reading order, each colored by its weight."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from clsight.figures.color_limits import checked_limit, limit_of
from clsight.figures.labels import TITLES, literal, shortened
from clsight.figures.theme import SEQUENTIAL, color_bar, styled
from clsight.figures.view import View, view_of
from clsight.schema import Direction

_ROW_PIXELS = 38
_LONGEST = 12
_CHARACTERS_PER_ROW = 84
_LIGHT_ABOVE = 0.45


def token_strip(
    record: xr.Dataset,
    *,
    sample: int,
    layer: int,
    head: int,
    direction: Direction = "attends_to",
    strategy: Any = None,
    zmax: float | None = None,
    dark: bool = False,
) -> go.Figure:
    """Return the tokens of one example in reading order, in rows, colored by the weight of one head.

    Each token is a cell of its own with its text and weight, so that repeated tokens stay apart; texts appear
    literally (`<s>`, `<b>`, `$x$`), long ones cut in the cell and whole on hover.

    Args:
        record: A plain or stacked record.
        sample: Label on the `sample` dim.
        layer: Label on the `layer` dim.
        head: Label on the `head` dim.
        direction: `attends_to` (the CLS row) or `attended_by` (the CLS column).
        strategy: Which member of a stacked record.
        zmax: Upper end of the color scale, from 0; see `color_limit`. Default: fits this head.
        dark: For a dark page.

    Returns:
        Data 0: a heatmap, `z` [row, cell], NaN after the last token. Data 1: the writing in its cells.

    Raises:
        FigureError: If a label is not in the record, or `zmax` is not positive.
        RecordError: If the record lacks the weights.
    """
    view = view_of(record, sample=sample, direction=direction, strategy=strategy, asked_by="token_strip")
    weights = view.of(layer, head, asked_by="token_strip")
    limit = checked_limit(zmax, asked_by="token_strip") or limit_of(weights, view.cls)
    width = _cells_per_row(view.plain)
    order = _rows(len(view.tokens), width)
    z = np.where(order >= 0, weights[order], np.float32(np.nan))
    clipped = bool(np.nanmax(weights, initial=0.0) > limit * 1.0001)
    uniform = f"(uniform: {1 / len(weights):.4f})"
    fig = go.Figure(
        go.Heatmap(
            z=z,
            text=_in_cells(view.tokens, order),
            xgap=2,
            ygap=3,
            zmin=0,
            zmax=limit,
            colorscale=SEQUENTIAL,
            colorbar=color_bar("weight", limit=limit, clipped=clipped),
            hoverongaps=False,
            hovertemplate=f"%{{text}}<br>weight %{{z:.4f}} {uniform}<extra></extra>",
        )
    )
    fig.add_trace(_writing(view, weights, width, limit))
    fig.update_xaxes(visible=False, range=[-0.5, width - 0.5])
    fig.update_yaxes(visible=False, range=[len(order) - 0.5, -0.5])
    title = f"{TITLES[direction]}: layer {layer}, head {head}"
    height = max(240, 70 + _ROW_PIXELS * len(order))
    styled(fig, title=title, height=height, dark=dark)
    return fig.update_layout(margin={"l": 8, "b": 16})


def _cells_per_row(texts: list[str]) -> int:
    """Return how many tokens fit beside each other, each cut to `_LONGEST` characters."""
    longest = min(_LONGEST, max(len(text) for text in texts))
    return min(len(texts), max(6, min(16, _CHARACTERS_PER_ROW // (longest + 1))))


def _rows(count: int, width: int) -> NDArray[np.int64]:
    rows = math.ceil(count / width)
    places = np.arange(rows * width)
    return np.where(places < count, places, -1).reshape(rows, width)


def _writing(view: View, weights: NDArray[np.float32], width: int, limit: float) -> go.Scatter:
    """Return the texts and weights in the cells, light on dark colors and dark on light ones."""
    numbers = ["" if np.isnan(weight) else f"{weight:.3f}" for weight in weights]
    cut = [literal(shortened(text, _LONGEST)) for text in view.plain]
    places = np.arange(len(weights))
    ink = np.where(weights > _LIGHT_ABOVE * limit, "#101214", "#ffffff").tolist()
    return go.Scatter(
        x=places % width,
        y=places // width,
        text=[f"{text}<br>{number}" for text, number in zip(cut, numbers, strict=True)],
        mode="text",
        textfont={"size": 11, "color": ink},
        hoverinfo="skip",
        showlegend=False,
    )


def _in_cells(texts: list[str], order: NDArray[np.int64]) -> list[list[str]]:
    return [[texts[position] if position >= 0 else "" for position in row] for row in order.tolist()]
