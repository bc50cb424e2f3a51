"""Differences with their intervals, one below the other: the forest plot."""

import math
import textwrap
from typing import Any, Final

import plotly.graph_objects as go
from pandas import DataFrame

from clsight.errors import FigureError
from clsight.figures.labels import literal
from clsight.figures.theme import Palette, palette, styled

COLUMNS: Final = ("label", "estimate", "low", "high", "reading", "margin")
_LINE: Final = 15
_MARK: Final = 30
_WIDEST: Final = 44
"""Characters of a label that a narrow page shows in one line."""
_SYMBOLS: Final = {"lower": "triangle-left", "higher": "triangle-right", "equivalent": "circle"}
_NAMES: Final = {
    "lower": "lower",
    "higher": "higher",
    "equivalent": "equivalent within the margin",
    "unclear": "inconclusive",
}


def interval_forest(rows: DataFrame, *, on_axis: str, title: str, dark: bool = False) -> go.Figure:
    """Return a row per difference: its mean as a mark, its interval as a line, what it is above them.

    Args:
        rows: From top to bottom, with the columns `label`, `estimate`, `low`, `high` (NaN: no interval),
            `reading` (`lower`, `higher`, `equivalent` or `unclear`) and `margin` (NaN: none), which is drawn
            as a gray box around 0.
        on_axis: What the differences are.
        title: Heading.
        dark: For a dark page.

    Returns:
        One scatter trace per reading that occurs, with `y` the number of the row from 0 at the top.

    Raises:
        FigureError: If a column is missing.
    """
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise FigureError(
            "interval_forest",
            expected=f"columns {', '.join(COLUMNS)}",
            got=f"none called {', '.join(missing)}",
            next_step="Add them",
        )
    fig, colors = go.Figure(), palette(dark=dark)
    table = rows.reset_index(drop=True)
    for reading, name in _NAMES.items():
        of_reading = table[table["reading"] == reading]
        if len(of_reading):
            fig.add_trace(_marks(of_reading, reading, name, colors))
    lines = max((len(_wrapped(label)) for label in table["label"]), default=1)
    for place, row in table.iterrows():
        _add_words(fig, int(place), row, colors)
    fig.add_vline(x=0, line={"color": colors.muted, "width": 1})
    fig.update_xaxes(title_text=literal(on_axis), showgrid=True, tickformat=".2~f")
    fig.update_yaxes(visible=False, range=[len(table) - 0.6, -0.85])
    styled(fig, title=literal(title), height=130 + (_MARK + _LINE * lines) * len(table), dark=dark)
    return fig.update_layout(margin={"l": 12, "t": 76}, legend={"y": 1, "yanchor": "bottom"})


def _marks(rows: DataFrame, reading: str, name: str, colors: Palette) -> go.Scatter:
    color = {"lower": colors.accent, "higher": colors.series[0], "equivalent": colors.series[2]}.get(
        reading, colors.muted
    )
    labels = [literal(str(label)) for label in rows["label"]]
    return go.Scatter(
        x=rows["estimate"],
        y=rows.index,
        mode="markers",
        name=name,
        marker={"color": color, "size": 10, "symbol": _SYMBOLS.get(reading, "circle-open")},
        error_x={
            "array": (rows["high"] - rows["estimate"]).fillna(0),
            "arrayminus": (rows["estimate"] - rows["low"]).fillna(0),
            "color": color,
            "thickness": 2,
            "width": 0,
        },
        customdata=[[label, _interval(low, high)] for label, low, high in zip(
            labels, rows["low"], rows["high"], strict=True)],
        hovertemplate="%{customdata[0]}<br>%{x:+.4f}%{customdata[1]}<extra></extra>",
        showlegend=True,
    )  # fmt: skip


def _add_words(fig: go.Figure, place: int, row: Any, colors: Palette) -> None:
    """Write what a row is above its mark, so that long labels leave the width to the intervals."""
    if not math.isnan(row["margin"]):
        fig.add_shape(
            type="rect", x0=-row["margin"], x1=row["margin"], y0=place - 0.22, y1=place + 0.22,
            fillcolor=colors.muted, opacity=0.25, line={"width": 0}, layer="below",
        )  # fmt: skip
    fig.add_annotation(
        text="<br>".join(map(literal, _wrapped(row["label"]))),
        xref="paper", x=0, y=place - 0.2, xanchor="left", yanchor="bottom",
        showarrow=False, align="left", font={"size": 11, "color": colors.ink}, bgcolor=colors.surface,
    )  # fmt: skip


def _wrapped(label: object) -> list[str]:
    return textwrap.wrap(str(label), _WIDEST, break_long_words=True) or [""]


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" ({low:+.4f} to {high:+.4f})"
