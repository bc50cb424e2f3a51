"""Curves over the layers: how focused CLS is, what it keeps to itself, what the others give it."""

from typing import Any, Final

import xarray as xr
from dash import html
from plotly.graph_objects import Figure

from clsight import figures
from clsight.analysis import MEASURES
from clsight_app.components.graph import graph, line_legend

TITLES: Final = {
    "entropy": "Entropy",
    "cls_self_attention": "CLS to itself",
    "mean_attended_by": "Others to CLS",
}
_HEIGHT: Final = 230


def over_depth(record: xr.Dataset, *, head: int | None, remark: str, dark: bool) -> list[Any]:
    """Return one curve for each measure that the record has what is needed for.

    Args:
        record: The record of one example, plain or stacked along `strategy`.
        head: Label of the head to draw bold; None for a mean over heads.
        remark: What the lines are.
        dark: Draw for the dark color scheme.
    """
    drawn = {
        name: figures.layer_curve(
            MEASURES[name].function(record).isel(sample=0, drop=True), selected=head, dark=dark
        )
        for name in TITLES
        if not MEASURES[name].missing_from(record)
    }
    legends = [line_legend(figure) for figure in drawn.values()]
    curves = html.Div([_curve(name, figure) for name, figure in drawn.items()], className="curves")
    names = legends[0] if "strategy" in record.dims else None
    return [html.H2("Over the layers"), html.P(remark, className="hint"), names, curves]


def _curve(name: str, figure: Figure) -> html.Figure:
    unit = MEASURES[name].unit
    figure.update_yaxes(title_text=None, tickformat=None if unit else ".0%")
    figure.update_layout(margin={"l": 44, "r": 8})
    return graph(
        figure,
        component_id=f"curve-{name.replace('_', '-')}",
        title=f"{TITLES[name]}, {unit or 'share of attention'}",
        style={"height": f"{_HEIGHT}px"},
    )
