"""A measure over depth: one line per head and their mean, or one line per init strategy."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from clsight.errors import FigureError
from clsight.figures.labels import literal
from clsight.figures.theme import palette, styled
from clsight.figures.view import one_of

_DRAWABLE = ("strategy", "layer", "head")


def layer_curve(
    values: xr.DataArray, *, selected: int | None = None, title: str | None = None, dark: bool = False
) -> go.Figure:
    """Return a measure over the layers: a thin line per head and a bold mean, or a line per strategy.

    Args:
        values: A measure with dims `layer` and, if any, `head` and `strategy`; of a stack the mean over heads
            is drawn. Its `long_name` and `units` attributes name the axis.
        selected: Label of a head to draw bold in place of the mean.
        title: Heading; by default the measure's name.
        dark: For a dark page.

    Returns:
        One scatter trace per line, named by its head or strategy; the bold one last.

    Raises:
        FigureError: If `layer` is not a dim, another dim is left, or `selected` is no head.
    """
    _check_dims(values)
    fig = go.Figure()
    colors = palette(dark=dark)
    if "strategy" in values.dims:
        _strategy_lines(fig, values.mean("head") if "head" in values.dims else values, colors.series)
    elif "head" in values.dims:
        _head_lines(fig, values, selected, dark=dark)
    else:
        _line(fig, values, str(values.name or "value"), color=colors.accent, width=3)
    name = literal(str(values.attrs.get("long_name", values.name or "value")))
    units = values.attrs.get("units", "")
    layers = values["layer"].values.tolist()
    fig.update_xaxes(title_text="layer", **({"tickvals": layers} if len(layers) <= 24 else {}))
    nonnegative = bool((values.fillna(0) >= 0).all())
    fig.update_yaxes(
        title_text=f"{name} ({units})" if units else name,
        showgrid=True,
        rangemode="tozero" if nonnegative else "normal",
    )
    styled(fig, title=title or f"{name[:1].upper()}{name[1:]}", height=300, dark=dark)
    return fig.update_layout(margin={"t": 70})


def _check_dims(values: xr.DataArray) -> None:
    if "layer" not in values.dims:
        raise FigureError(
            "layer_curve",
            expected="values with a `layer` dimension",
            got=f"dims ({', '.join(map(str, values.dims))})",
            next_step="Give a measure of several layers, such as clsight.analysis.entropy(record)",
        )
    others = [str(dim) for dim in values.dims if dim not in _DRAWABLE]
    if others:
        raise FigureError(
            "layer_curve",
            expected=f"values with dims among {', '.join(_DRAWABLE)}",
            got=f"also {', '.join(others)}",
            next_step=f"Average or select first: values.mean({others[0]!r}) or values.sel({others[0]}=...)",
        )


def _strategy_lines(fig: go.Figure, values: xr.DataArray, colors: tuple[str, ...]) -> None:
    for place, name in enumerate(values["strategy"].values):
        color = colors[place % len(colors)]
        _line(fig, values.isel(strategy=place), literal(str(name)), color=color, width=2.5)


def _head_lines(fig: go.Figure, values: xr.DataArray, selected: int | None, *, dark: bool) -> None:
    colors = palette(dark=dark)
    heads = values["head"].values.tolist()
    for head in heads:
        _line(fig, values.sel(head=head), f"head {head}", color=colors.muted, width=1, thin=True)
    if selected is None:
        _line(
            fig,
            values.mean("head"),
            f"mean of {len(heads)} heads" if len(heads) > 1 else f"head {heads[0]}",
            color=colors.accent,
            width=3,
        )
    else:
        one_of(heads, selected, "head", asked_by="layer_curve")
        _line(fig, values.sel(head=selected), f"head {selected}", color=colors.accent, width=3)


def _line(
    fig: go.Figure, values: xr.DataArray, name: str, *, color: str, width: float, thin: bool = False
) -> None:
    fig.add_scatter(
        x=values["layer"].values,
        y=values.values.astype(np.float64),
        name=name,
        mode="lines+markers",
        line={"color": color, "width": width},
        marker={"size": 4 if thin else 7},
        opacity=0.45 if thin else 1.0,
        showlegend=not thin,
        hovertemplate=f"{name}<br>layer %{{x}}: %{{y:.3f}}<extra></extra>",
    )
