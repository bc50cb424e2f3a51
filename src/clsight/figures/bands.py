"""A mean along an axis with its interval behind it: the lines that curves of all kinds are drawn with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from clsight.errors import FigureError
from clsight.figures.labels import literal
from clsight.figures.theme import palette, styled


def mean_curves(
    means: xr.Dataset,
    along: str,
    *,
    on_axis: str,
    title: str,
    arms: Sequence[str] = (),
    references: Sequence[tuple[str, float]] = (),
    dark: bool = False,
) -> go.Figure:
    """Return a line per arm along an axis, with its interval as a band, or as bars where points are few.

    Args:
        means: `estimate`, `low`, `high` with dims `arm` and `along`, such as `clsight.statistics.bootstrap`
            gives of values by arm; arms are named by their labels.
        along: The other dim; its coordinate has numbers.
        on_axis: What is written on the x axis.
        title: Heading: what the numbers are.
        arms: All arms that may occur, so that each keeps its color where others are not drawn.
        references: A name and a height for each horizontal line to compare with.
        dark: For a dark page.

    Returns:
        Per arm the band, where there is one, and the line; NaN leaves a gap.

    Raises:
        FigureError: If these are no such means.
    """
    if set(means.get("estimate", xr.DataArray()).dims) != {"arm", along}:
        raise FigureError(
            "mean_curves",
            expected=f"means with dims arm and {along}",
            got=f"dims ({', '.join(map(str, means.dims))})",
            next_step="Pass clsight.statistics.bootstrap(values, over='seed')",
        )
    fig, colors = go.Figure(), palette(dark=dark)
    few = means.sizes[along] < 4
    names = [str(arm) for arm in means["arm"].values.tolist()]
    everyone = list(dict.fromkeys([*arms, *names]))
    for place, arm in enumerate(names):
        color = everyone.index(arm)
        one = means.isel(arm=place).transpose(along)
        look = {
            "color": colors.series[color % len(colors.series)],
            "dash": "solid" if color < len(colors.series) else "dot",
        }
        shift = (place - (means.sizes["arm"] - 1) / 2) * 0.04 if few else 0.0
        _line(fig, one[along].values + shift, one, literal(arm), look, few=few)
    for name, height in references:
        fig.add_hline(y=height, line={"color": colors.muted, "width": 1.5, "dash": "dash"})
        fig.add_annotation(
            text=literal(name), xref="paper", x=1, y=height, xanchor="right", yanchor="bottom",
            showarrow=False,
            font={"color": colors.muted, "size": 11},
        )  # fmt: skip
    ticks = (
        {"tickvals": means[along].values.tolist(), "range": [-0.5, means.sizes[along] - 0.5]} if few else {}
    )
    fig.update_xaxes(title_text=literal(on_axis), **ticks)
    fig.update_yaxes(showgrid=True, rangemode="tozero")
    styled(fig, title=literal(title), height=340, dark=dark)
    return fig.update_layout(margin={"t": 84})


def add_band(fig: go.Figure, x: np.ndarray, means: xr.Dataset, *, name: str, color: str) -> None:
    """Add the band between `low` and `high` where both are there, without a name in the legend."""
    there = np.isfinite(means["low"].values) & np.isfinite(means["high"].values)
    low, high = means["low"].values[there], means["high"].values[there]
    fig.add_scatter(
        x=[*x[there], *x[there][::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=color,
        opacity=0.1,
        line={"width": 0},
        mode="lines",
        name=name,
        showlegend=False,
        hoverinfo="skip",
    )


def _line(
    fig: go.Figure, x: np.ndarray, means: xr.Dataset, name: str, look: dict[str, Any], *, few: bool
) -> None:
    """Add the line of one arm and its interval."""
    y = means["estimate"].values
    bars: dict[str, Any] = {}
    if few:
        above, below = means["high"].values - y, y - means["low"].values
        bars["error_y"] = {
            "array": np.nan_to_num(above),
            "arrayminus": np.nan_to_num(below),
            "thickness": 1.5,
        }
    else:
        add_band(fig, x, means, name=name, color=look["color"])
    fig.add_scatter(
        x=x,
        y=y,
        mode="lines+markers" if few else "lines",
        marker={"size": 8},
        name=name,
        line={**look, "width": 2.5},
        customdata=np.stack([means["low"].values, means["high"].values], axis=-1),
        hovertemplate=(
            f"{name}<br>%{{y:.3f}} (%{{customdata[0]:.3f}} to %{{customdata[1]:.3f}})<extra></extra>"
        ),
        **bars,
    )
