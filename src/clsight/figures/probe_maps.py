"""What [CLS] attends to on the same samples under each strategy, side by side."""

import math
from typing import Final

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from clsight.errors import FigureError
from clsight.figures.labels import literal, shortened
from clsight.figures.theme import SEQUENTIAL, color_bar, palette, styled

_PANEL: Final = 210
_DIMS: Final = ("arm", "sample", "token")


def attention_maps(weights: xr.DataArray, *, title: str, dark: bool = False) -> go.Figure:
    """Return a heatmap per arm, a row per sample and a column per token, all on one color scale from 0.

    Args:
        weights: With dims `arm`, `sample`, `token`, in [0, 1], NaN where there is no token; `token_name`
            names the tokens, and `label` the class of each sample, if they are there.
        title: Heading.
        dark: For a dark page.

    Returns:
        One heatmap trace per arm, `z` [sample, token].

    Raises:
        FigureError: If the dims are others.
    """
    if set(weights.dims) != set(_DIMS):
        raise FigureError(
            "attention_maps",
            expected="weights with dims arm, sample and token",
            got=f"dims ({', '.join(map(str, weights.dims))})",
            next_step="Average or select the others first",
        )
    weights = weights.transpose(*_DIMS)
    arms = weights["arm"].values.tolist()
    fig = make_subplots(
        rows=len(arms), cols=1, shared_xaxes=True, subplot_titles=[literal(str(arm)) for arm in arms],
        vertical_spacing=min(0.3, 34 / (_PANEL * len(arms))),
    )  # fmt: skip
    for place in range(len(arms)):
        fig.add_trace(_map(weights.isel(arm=place)), row=place + 1, col=1)
    limit = float(np.nanmax(weights.values, initial=1e-6))
    fig.update_layout(
        coloraxis={
            "colorscale": SEQUENTIAL,
            "cmin": 0,
            "cmax": limit,
            "colorbar": color_bar("weight", limit=limit, clipped=False),
        }
    )
    _name_axes(fig, weights, len(arms))
    styled(fig, title=literal(title), height=110 + _PANEL * len(arms), dark=dark)
    fig.update_annotations(x=0, xanchor="left", font={"size": 12, "color": palette(dark=dark).ink})
    return fig.update_layout(margin={"t": 72})


def _map(weights: xr.DataArray) -> go.Heatmap:
    labels = weights["label"].values.tolist() if "label" in weights.coords else []
    told = [f"sample {sample}" for sample in weights["sample"].values.tolist()]
    if labels:
        told = [f"{one}, class {literal(str(label))}" for one, label in zip(told, labels, strict=True)]
    names = _token_names(weights)
    return go.Heatmap(
        z=weights.values,
        text=[[f"{one}, token {literal(name)}" for name in names] for one in told],
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
        hoverongaps=False,
        hovertemplate="%{text}<br>weight %{z:.4f}<extra></extra>",
    )


def _name_axes(fig: go.Figure, weights: xr.DataArray, rows: int) -> None:
    names = _token_names(weights)
    shown = list(range(0, len(names), math.ceil(len(names) / 24)))
    ticks = [literal(shortened(names[place], 8)) for place in shown]
    fig.update_xaxes(tickvals=shown, ticktext=ticks)
    fig.update_xaxes(title_text="token", row=rows, col=1)
    fig.update_yaxes(autorange="reversed", title_text="sample", showticklabels=False)


def _token_names(weights: xr.DataArray) -> list[str]:
    name = "token_name" if "token_name" in weights.coords else "token"
    return [str(one) for one in weights[name].values.tolist()]
