"""The one look of all figures: a quiet surface, one accent color, a light and a dark version."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

CONFIG: Final[dict[str, Any]] = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg"},
}
"""What to pass as `config` when showing a figure: no upload button, vector export."""

SEQUENTIAL: Final = "Cividis"
"""The color scale of weights, from 0; readable with every kind of color vision and in gray print."""

FONT: Final = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Palette:
    """The colors of one version of the look."""

    surface: str
    ink: str
    muted: str
    line: str
    accent: str
    series: tuple[str, ...]
    diverging: tuple[tuple[float, str], ...]


LIGHT: Final = Palette(
    surface="#ffffff",
    ink="#1f2328",
    muted="#656d76",
    line="#e3e6ea",
    accent="#e8590c",
    series=("#1c4e80", "#e8590c", "#2b8a3e", "#862e9c", "#a8790a", "#0b7285", "#c2255c", "#495057"),
    diverging=((0.0, "#1f4e9c"), (0.25, "#8fb3dd"), (0.5, "#f6f6f6"), (0.75, "#eea584"), (1.0, "#b3321a")),
)
DARK: Final = Palette(
    surface="#1a1b1e",
    ink="#e6e6e6",
    muted="#9aa0a6",
    line="#33363b",
    accent="#ff922b",
    series=("#74a9e8", "#ff922b", "#69db7c", "#da77f2", "#ffd43b", "#3bc9db", "#f783ac", "#ced4da"),
    diverging=((0.0, "#8ec5ff"), (0.25, "#3f6ea5"), (0.5, "#2a2c30"), (0.75, "#a5533a"), (1.0, "#ffa98a")),
)


def palette(*, dark: bool) -> Palette:
    """Return the colors of the light or the dark version."""
    return DARK if dark else LIGHT


def translucent() -> list[list[Any]]:
    """Return the color scale of weights over an image: small weights let the picture through."""
    colors = sample_colorscale(SEQUENTIAL, [0.0, 0.25, 0.5, 0.75, 1.0])
    opacities = (0.3, 0.45, 0.6, 0.72, 0.82)
    return [
        [place / 4, color.replace("rgb(", "rgba(").replace(")", f", {opacity})")]
        for place, (color, opacity) in enumerate(zip(colors, opacities, strict=True))
    ]


def styled(fig: go.Figure, *, title: str, height: int, dark: bool) -> go.Figure:
    """Give a figure the shared look, its title and its height in pixels, and return it."""
    fig.update_layout(
        template=_template(palette(dark=dark)), title={"text": title}, height=height, autosize=True
    )
    return fig


def color_bar(title: str, *, limit: float, clipped: bool) -> dict[str, Any]:
    """Return a color bar from 0 to `limit`; its last label says so when larger values share its color."""
    values = [0.0, limit / 2, limit]
    labels = [f"{value:.2g}" for value in values]
    if clipped:
        labels[-1] = f"≥ {labels[-1]}"
    return {**bar(title), "tickvals": values, "ticktext": labels}


def bar(title: str) -> dict[str, Any]:
    """Return the plain form of every color bar."""
    return {
        "title": {"text": title, "side": "top"},
        "thickness": 10,
        "outlinewidth": 0,
        "len": 160,
        "lenmode": "pixels",
        "y": 1,
        "yanchor": "top",
        "ticks": "",
        "ticklabelposition": "outside bottom",
    }


@cache
def _template(colors: Palette) -> go.layout.Template:
    axis = {
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "linecolor": colors.line,
        "gridcolor": colors.line,
        "tickfont": {"color": colors.muted, "size": 11},
        "title": {"font": {"color": colors.muted, "size": 12}, "standoff": 8},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": colors.ink},
            "title": {
                "font": {"size": 14},
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": 0.99,
                "yanchor": "top",
            },
            "paper_bgcolor": colors.surface,
            "plot_bgcolor": colors.surface,
            "colorway": colors.series,
            "margin": {"l": 56, "r": 16, "t": 44, "b": 44},
            "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "xaxis": axis,
            "yaxis": axis,
        }
    )
