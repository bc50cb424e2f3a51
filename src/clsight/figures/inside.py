"""Inside one head: the vectors of CLS, what each dimension adds to a score, and the scores of all tokens."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray

from clsight.analysis.query_key import log_weights, query_times_key
from clsight.figures.labels import literal, shortened
from clsight.figures.theme import bar, palette, styled
from clsight.figures.view import one_of, view_of
from clsight.records.checking import need

_VECTORS = ("query", "key", "value")
_NAMED_TOKENS = 40


def head_vectors(record: xr.Dataset, *, sample: int, layer: int, head: int, dark: bool = False) -> go.Figure:
    """Return the query, key and value of CLS in one head, as the attention operation received them.

    Args:
        record: A record with `query`, `key` and `value`.
        sample: Label on the `sample` dim.
        layer: Label on the `layer` dim.
        head: Label on the `head` dim.
        dark: For a dark page.

    Returns:
        Data 0: a heatmap, `z` [3, head_dim]; colors around 0.

    Raises:
        RecordError: If the record lacks one of them.
        FigureError: If a label is not there.
    """
    vectors = [_one(need(record, name, asked_by="head_vectors"), sample, layer, head) for name in _VECTORS]
    z = np.stack([vector.values for vector in vectors]).astype(np.float32)
    limit = max(float(np.abs(z).max()), 1e-6)
    ends = {"tickvals": [-limit, 0, limit], "ticktext": [f"{-limit:.2g}", "0", f"{limit:.2g}"]}
    fig = go.Figure(
        go.Heatmap(
            z=z,
            y=list(_VECTORS),
            ygap=4,
            zmin=-limit,
            zmax=limit,
            colorscale=palette(dark=dark).diverging,
            colorbar={**bar(""), **ends, "len": 90},
            hovertemplate="%{y}, dimension %{x}<br>%{z:.4g}<extra></extra>",
        )
    )
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(title_text="dimension of the head")
    return styled(fig, title=f"[CLS] in layer {layer}, head {head}", height=200, dark=dark)


def key_products(
    record: xr.Dataset, *, sample: int, layer: int, head: int, token: int, dark: bool = False
) -> go.Figure:
    """Return what each dimension of a head adds to the score of one token: the CLS query times its key.

    Args:
        record: A record kept with "keys_values".
        sample: Label on the `sample` dim.
        layer: Label on the `layer` dim.
        head: Label on the `head` dim.
        token: Label on the `token` dim.
        dark: For a dark page.

    Returns:
        Data 0: a bar for each dimension; they sum to q·k.

    Raises:
        RecordError: If the record lacks `query` or `keys`.
        FigureError: If a label is not there.
    """
    chosen = record.sel(
        layer=[one_of(record["layer"].values.tolist(), layer, "layer", asked_by="key_products")]
    )
    place = one_of(record["token"].values.tolist(), token, "token", asked_by="key_products")
    products = _one(query_times_key(chosen), sample, layer, head).isel(token=place).values
    colors = palette(dark=dark)
    ink = np.where(products >= 0, colors.diverging[-1][1], colors.diverging[0][1]).tolist()
    fig = go.Figure(
        go.Bar(
            x=np.arange(len(products)),
            y=products,
            marker={"color": ink},
            hovertemplate="dimension %{x}<br>%{y:.4g}<extra></extra>",
        )
    )
    name = literal(shortened(str(_one_sample(record["token_text"], sample)[place]), 40))
    fig.update_xaxes(title_text="dimension of the head")
    fig.update_yaxes(title_text="query × key", showgrid=True, zeroline=True)
    return styled(fig, title=f"[CLS] × {name}: sum {products.sum():.3g}", height=240, dark=dark)


def token_scores(record: xr.Dataset, *, sample: int, layer: int, head: int, dark: bool = False) -> go.Figure:
    """Return the scores of one head before softmax, the largest at 0: their differences are what counts.

    Args:
        record: A record.
        sample: Label on the `sample` dim.
        layer: Label on the `layer` dim.
        head: Label on the `head` dim.
        dark: For a dark page.

    Returns:
        Data 0: a marker for each real token, in nats below the largest; none where the weight is 0.

    Raises:
        RecordError: If the record lacks the weights.
        FigureError: If a label is not there.
    """
    view = view_of(record, sample=sample, direction="attends_to", asked_by="token_scores")
    scores = _one(log_weights(record), sample, layer, head).values
    real = scores[np.flatnonzero(_one_sample(record["token_mask"], sample))]
    shown: NDArray[np.float64] = np.where(np.isfinite(real), real - np.nanmax(real), np.nan)
    fig = go.Figure(
        go.Scatter(
            x=np.arange(len(shown)),
            y=shown,
            mode="markers",
            marker={"color": palette(dark=dark).accent, "size": 7 if len(shown) <= _NAMED_TOKENS else 4},
            text=view.tokens,
            hovertemplate="%{text}<br>%{y:.3f} nats<extra></extra>",
        )
    )
    if len(shown) <= _NAMED_TOKENS:
        names = [literal(shortened(text, 12)) for text in view.plain]
        fig.update_xaxes(tickvals=np.arange(len(shown)), ticktext=names, tickangle=-45)
    fig.update_yaxes(title_text="nats below the largest", showgrid=True)
    return styled(fig, title="Scores before softmax", height=260, dark=dark)


def _one(array: xr.DataArray, sample: int, layer: int, head: int) -> xr.DataArray:
    """Return one head of one sample, given by labels."""
    for dim, label in (("sample", sample), ("layer", layer), ("head", head)):
        labels: list[Any] = array[dim].values.tolist()
        array = array.isel({dim: one_of(labels, label, dim, asked_by="inside")})
    return array


def _one_sample(array: xr.DataArray, sample: int) -> NDArray[Any]:
    return np.asarray(array.isel(sample=array["sample"].values.tolist().index(sample)).values)
