"""Many samples in figures: heads as points, the spread of a measure, weights by place, queries among keys."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.colors import sample_colorscale

from clsight.errors import FigureError
from clsight.figures.labels import literal
from clsight.figures.theme import SEQUENTIAL, palette, styled

_FEW_HEADS = 64  # more error bars than this hide the points
_FEW_PLACES = 16


def head_scatter(
    x: xr.Dataset, y: xr.Dataset, *, selected: tuple[int, int] | None = None, dark: bool = False
) -> go.Figure:
    """Return the heads of a model as points over two measures, colored by layer, intervals as bars.

    Args:
        x: What `clsight.statistics.bootstrap` gives of a measure, dims `layer`, `head`; `attrs["title"]`
            names the axis.
        y: The same of another measure, of the same heads.
        selected: Labels of the layer and head to circle.
        dark: For a dark page.

    Returns:
        A trace for each layer, with [layer, head] as `customdata`; a ring last where one is selected.

    Raises:
        FigureError: If there are other dims, or the selected head is not there.
    """
    for name, table in (("x", x), ("y", y)):
        _check_dims(table.get("estimate", xr.DataArray()), {"layer", "head"}, f"head_scatter {name}")
    fig, colors = go.Figure(), palette(dark=dark)
    layers = x["layer"].values.tolist()
    shades = sample_colorscale(SEQUENTIAL, np.linspace(0.25, 0.95, len(layers)) if dark else _places(layers))
    few = x.sizes["layer"] * x.sizes["head"] <= _FEW_HEADS
    for place, layer in enumerate(layers):
        _heads_of(fig, (x.sel(layer=layer), y.sel(layer=layer)), shades[place], bars=few)
    if selected is not None:
        layer, head = selected
        if layer not in layers or head not in x["head"].values:
            raise FigureError(
                "head_scatter", expected="a head of the record", got=str(selected), next_step="Choose another"
            )
        at = [float(table["estimate"].sel(layer=layer, head=head)) for table in (x, y)]
        ring = {"size": 18, "color": "rgba(0,0,0,0)", "line": {"color": colors.accent, "width": 2.5}}
        fig.add_scatter(
            x=[at[0]], y=[at[1]], mode="markers", marker=ring, hoverinfo="skip", showlegend=False, name="ring"
        )
    fig.update_xaxes(title_text=literal(str(x.attrs.get("title", ""))), showgrid=True)
    fig.update_yaxes(title_text=literal(str(y.attrs.get("title", ""))), showgrid=True)
    return styled(fig, title="Heads", height=420, dark=dark)


def sample_spread(
    values: xr.DataArray, groups: Sequence[str], *, title: str = "", dark: bool = False
) -> go.Figure:
    """Return a box of a measure over samples for each group, such as a class; it shows median and quartiles.

    Args:
        values: One number per sample; NaN is left out.
        groups: The group of each sample, in its order.
        title: Of the axis.
        dark: For a dark page.

    Raises:
        FigureError: If there is another dim than `sample`.
    """
    _check_dims(values, {"sample"}, "sample_spread")
    fig, colors = go.Figure(), palette(dark=dark)
    members = np.asarray(list(groups), dtype=object)
    for group in dict.fromkeys(groups):
        fig.add_box(
            y=values.values[members == group],
            name=literal(group),
            marker={"color": colors.series[0], "size": 4},
            line={"width": 1.5},
            boxpoints="outliers",
            showlegend=False,
        )
    fig.update_yaxes(title_text=literal(title), showgrid=True)
    fig.update_xaxes(type="category")
    return styled(fig, title="Spread over samples", height=300, dark=dark)


def place_profile(profile: xr.Dataset, *, title: str = "", dark: bool = False) -> go.Figure:
    """Return the mean weight by place as a line over a band that tells its spread over samples.

    Args:
        profile: `mean`, `low` and `high` over one dim, such as `distance`.
        title: Of the axis of places.
        dark: For a dark page.

    Returns:
        The band, then the line.

    Raises:
        FigureError: If there is more than one dim.
    """
    mean = profile.get("mean", xr.DataArray())
    if mean.ndim != 1:
        _check_dims(mean, {"distance"}, "place_profile")
    fig, color = go.Figure(), palette(dark=dark).series[0]
    places = profile[str(mean.dims[0])].values
    fig.add_scatter(
        x=[*places, *places[::-1]],
        y=[*profile["high"].values, *profile["low"].values[::-1]],
        fill="toself",
        fillcolor=color,
        opacity=0.18,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )
    line = {"color": color, "width": 2.5}
    hover = f"{literal(title)} %{{x}}: %{{y:.3f}}<extra></extra>"
    fig.add_scatter(x=places, y=mean.values, mode="lines+markers", line=line, hovertemplate=hover)
    ticks = {"tickvals": places.tolist()} if len(places) <= _FEW_PLACES else {}
    fig.update_xaxes(title_text=literal(title), **ticks)
    fig.update_yaxes(title_text="weight of CLS", showgrid=True, rangemode="tozero")
    styled(fig, title="Weight by place", height=300, dark=dark)
    return fig.update_layout(showlegend=False)


def query_key_scatter(points: xr.Dataset, *, dark: bool = False) -> go.Figure:
    """Return what `clsight.analysis.joint_map` gives: keys as small points, CLS queries as crosses.

    Args:
        points: `x`, `y` and `kind` over `point`, with `attrs["explained"]`.
        dark: For a dark page.
    """
    _check_dims(points.get("x", xr.DataArray()), {"point"}, "query_key_scatter")
    fig, colors = go.Figure(), palette(dark=dark)
    looks = {
        "key": ("keys of tokens", {"size": 4, "color": colors.muted, "opacity": 0.55}),
        "query": ("queries of CLS", {"size": 9, "color": colors.accent, "symbol": "cross-thin-open"}),
    }
    for kind, (name, marker) in looks.items():
        part = points.isel(point=np.flatnonzero(points["kind"].values == kind))
        told = [
            f"sample {s}, token {t}" for s, t in zip(part["sample"].values, part["token"].values, strict=True)
        ]
        fig.add_scatter(
            x=part["x"].values.round(4),
            y=part["y"].values.round(4),
            mode="markers",
            name=name,
            marker=marker,
            text=told,
            hovertemplate="%{text}<extra></extra>",
        )
    shares = [f"{100 * share:.0f} %" for share in points.attrs["explained"]]
    fig.update_xaxes(title_text=f"first component, {shares[0]} of the variance", showgrid=True)
    fig.update_yaxes(title_text=f"second component, {shares[1]}", showgrid=True)
    return styled(fig, title="Queries among keys", height=420, dark=dark)


def _places(layers: Sequence[int]) -> list[float]:
    """Return places on the color scale that are dark enough on a light page."""
    return [float(place) for place in np.linspace(0.0, 0.75, len(layers))]


def _heads_of(fig: go.Figure, tables: tuple[xr.Dataset, xr.Dataset], color: str, *, bars: bool) -> None:
    """Add the heads of one layer."""
    layer, heads = int(tables[0]["layer"]), tables[0]["head"].values
    x, y = (table["estimate"].values for table in tables)
    errors = [
        {
            "array": table["high"].values - table["estimate"].values,
            "arrayminus": table["estimate"].values - table["low"].values,
            "thickness": 1,
            "width": 0,
            "visible": bars,
        }
        for table in tables
    ]
    fig.add_scatter(
        x=x,
        y=y,
        error_x=errors[0],
        error_y=errors[1],
        mode="markers",
        name=f"layer {layer}",
        marker={"size": 9, "color": color},
        customdata=[[layer, int(head)] for head in heads],
        hovertemplate=("layer %{customdata[0]}, head %{customdata[1]}<br>%{x:.3f}, %{y:.3f}<extra></extra>"),
    )


def _check_dims(values: xr.DataArray, wanted: set[str], asked_by: str) -> None:
    if set(values.dims) != wanted:
        raise FigureError(
            asked_by,
            expected=f"dims {', '.join(sorted(wanted))}",
            got=f"({', '.join(map(str, values.dims))})",
            next_step="Average or select over the others first",
        )
