"""How the answer falls or rises along the ranking of each measure: means over samples, with intervals."""

from typing import Final, Literal

import plotly.graph_objects as go
import xarray as xr

from clsight.errors import FigureError
from clsight.figures.labels import literal
from clsight.figures.theme import palette, styled
from clsight.figures.view import one_of

Curve = Literal["deletion", "insertion"]
_SHARES: Final = {"deletion": "share of tokens removed", "insertion": "share of tokens put back"}
_TITLES: Final = {"deletion": "The highest ranked go first", "insertion": "The highest ranked come first"}
_ON_AXIS: Final = "probability of the answer"


def faithfulness_curves(
    means: xr.Dataset, curve: Curve, *, title: str | None = None, dark: bool = False
) -> go.Figure:
    """Return a line per measure over the share of tokens, with its interval as a band behind it.

    Args:
        means: What `clsight.statistics.bootstrap` gives of the curves that `score_batches` kept, `[measure,
            fraction]`, with the coordinate `label`. The measure "random" is dashed and gray.
        curve: `deletion` or `insertion`, for the words on the axes.
        title: Heading; by default what happens along the curve.
        dark: For a dark page.

    Returns:
        Two traces per measure: the band, without a name in the legend, and the line. NaN leaves a gap.

    Raises:
        FigureError: If these are no such means, or the curve is unknown.
    """
    one_of(list(_SHARES), curve, "curve", asked_by="faithfulness_curves")
    if set(means.get("estimate", xr.DataArray()).dims) != {"measure", "fraction"} or "label" not in means:
        raise FigureError(
            "faithfulness_curves",
            expected="means of curves with dims measure, fraction and the coordinate `label`",
            got=f"dims ({', '.join(map(str, means.dims))})",
            next_step="Pass clsight.statistics.bootstrap(scores[curve], 'sample', skipna=True)",
        )
    fig, colors = go.Figure(), palette(dark=dark)
    for place, name in enumerate(means["measure"].values.tolist()):
        is_random = name == "random"
        color = colors.muted if is_random else colors.series[place % len(colors.series)]
        dash = "dash" if is_random else "solid" if place < len(colors.series) else "dot"
        _add(fig, means.isel(measure=place), color=color, dash=dash)
    fig.update_xaxes(title_text=_SHARES[curve], tickformat=".0%", range=[0, 1], ticklabelstandoff=4)
    fig.update_yaxes(title_text=_ON_AXIS, showgrid=True, range=[0, 1.02])
    return styled(fig, title=title or _TITLES[curve], height=340, dark=dark)


def _add(fig: go.Figure, means: xr.Dataset, *, color: str, dash: str) -> None:
    """Add the band and the line of one measure."""
    x, label = means["fraction"].values, literal(str(means["label"].item()))
    low, high = means["low"].values, means["high"].values
    fig.add_scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=color,
        opacity=0.1,
        line={"width": 0},
        mode="lines",
        name=label,
        showlegend=False,
        hoverinfo="skip",
    )
    fig.add_scatter(
        x=x,
        y=means["estimate"].values,
        mode="lines",
        name=label,
        line={"color": color, "width": 2.5, "dash": dash},
        hovertemplate=f"{label}<br>%{{x:.0%}}: %{{y:.3f}}<extra></extra>",
    )
