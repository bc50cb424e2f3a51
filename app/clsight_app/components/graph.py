"""A plotly figure as a region of a page: on the page's background, without toolbar, zoom or upload."""

from collections.abc import Sequence
from typing import Any, Final

from dash import dcc, html
from plotly.graph_objects import Figure

from clsight_app.components.labels import labeled

CONFIG: Final[Any] = {
    "displayModeBar": False,
    "showSendToCloud": False,
    "displaylogo": False,
    "doubleClick": False,
    "showAxisDragHandles": False,
    "responsive": True,
}
_WIDTH, _BESIDE, _BELOW = 600, 130, 62  # pixels: a figure, and what its color bar and its axes take of it
_NARROWEST = 672  # pixels: what the style sheet gives the maps of a comparison at least
_TRANSPARENT: Final = "rgba(0,0,0,0)"


def graph(
    figure: Figure, *, component_id: str, title: str, style: dict[str, str] | None = None, remark: str = ""
) -> html.Figure:
    """Return a figure as a region of a page, under its title.

    Args:
        figure: The figure; its own title is left out.
        component_id: Id of the region.
        title: What stands above it, also for a screen reader.
        style: Its size; by default the page's width and the height the figure asks for.
        remark: What stands beside the title, in small print.
    """
    size = style or {"height": f"{figure.layout.height}px"}
    return html.Figure(
        [
            html.Figcaption([html.Span(title, className="caption"), html.Span(remark, className="remark")]),
            dcc.Graph(id=component_id, figure=on_page(figure), config=CONFIG, style=size),
        ],
        **labeled(title),
    )


def on_page(figure: Figure) -> Figure:
    """Return the figure without a title, a height, a background or a zoom of its own."""
    return figure.update_layout(
        title=None,
        height=None,
        paper_bgcolor=_TRANSPARENT,
        plot_bgcolor=_TRANSPARENT,
        dragmode=False,
        margin={"t": 12},
    )


def map_size(figure: Figure) -> dict[str, str]:
    """Return the size of a figure of square cells that fills its width, but no more height than it asks for.

    Args:
        figure: A figure with its data ranges set; one whose axes are not tied keeps the height it asks for.
    """
    x, y = figure.layout.xaxis, figure.layout.yaxis
    if y.scaleanchor is None:
        return {"height": f"{figure.layout.height}px"}
    width, height = (abs(axis.range[1] - axis.range[0]) for axis in (x, y))
    cells = height * (y.scaleratio or 1) / width * (_WIDTH - _BESIDE)
    return {"aspectRatio": f"{_WIDTH} / {round(cells + _BELOW)}", "maxHeight": f"{figure.layout.height}px"}


def comparison_size(figure: Figure) -> dict[str, str]:
    """Return the size of two rows of maps: no higher than the figure asks for, lower where it is narrow."""
    x, y = figure.layout.xaxis, figure.layout.yaxis
    height = f"{figure.layout.height}px"
    if y.scaleanchor is None:
        return {"height": height}
    width_of_map = (_NARROWEST - _BESIDE) / abs(x.range[1] - x.range[0])
    narrow = round(2 * width_of_map * y.scaleratio + 2 * _BELOW)
    return {"aspectRatio": f"{_NARROWEST} / {narrow}", "maxHeight": height}


def color_legend(figure: Figure) -> html.Div:
    """Return the color scale of a figure as a line from 0 to its end, and leave it out of the figure."""
    scale = figure.layout.coloraxis
    figure.update_coloraxes(showscale=False)
    return scale_legend(scale.colorscale, scale.cmax)


def scale_legend(colorscale: Sequence[Sequence[Any]], limit: float) -> html.Div:
    """Return a color scale of weights, pairs of a place in 0 .. 1 and a color, as a line with its end."""
    stops = ", ".join(f"{color} {100 * place:.0f}%" for place, color in colorscale)
    return html.Div(
        [
            html.Span("weight 0"),
            html.Span(className="scale", style={"background": f"linear-gradient(to right, {stops})"}),
            html.Span(f"{limit:.2g}"),
        ],
        className="legend",
    )


def line_legend(figure: Figure) -> html.Div:
    """Return the names of a figure's lines beside their colors, and leave them out of the figure."""
    figure.update_layout(showlegend=False)
    return html.Div(
        [
            html.Span([html.Span(className="dot", style={"background": line.line.color}), line.name])
            for line in figure.data
        ],
        className="legend",
    )
