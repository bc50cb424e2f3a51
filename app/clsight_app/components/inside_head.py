"""What the selected head computes with: the vectors of CLS, the scores before softmax, query × key."""

from typing import Any, Final

import dash_mantine_components as dmc
import xarray as xr
from dash import html
from plotly.graph_objects import Figure

from clsight import figures
from clsight_app import ids
from clsight_app.components.graph import graph
from clsight_app.state import Selection, checked_index
from clsight_app.views.head import most_attended
from clsight_app.views.inside import scale_sentence
from clsight_app.views.wording import token_name

KEEP: Final = ("keys_values",)
"""What the record must hold beyond the plain one."""


def inside_switch(shown: bool) -> dmc.Checkbox:
    """Return the switch that shows what the head computes with."""
    return dmc.Checkbox(
        id=ids.INSIDE,
        label="Look inside: query, key, value, scores before softmax",
        checked=shown,
        size="xs",
        className="words",
    )


def inside_head(record: xr.Dataset, selection: Selection, *, dark: bool) -> list[Any]:
    """Return the figures of one head: q, k, v; the score of each token; q × k of the chosen one.

    Args:
        record: The record of one example, kept with `KEEP`.
        selection: Which layer, head and token; without a token the one that CLS attends to most.
        dark: Draw for the dark color scheme.

    Raises:
        AppError: The token is not there.
    """
    place = {"sample": 0, "layer": selection.layer, "head": selection.head}
    token = _token(record, selection)
    vectors = figures.head_vectors(record, **place, dark=dark)
    scores = figures.token_scores(record, **place, dark=dark)
    products = figures.key_products(record, **place, token=token, dark=dark)
    name, total = token_name(record.isel(sample=0), token), sum(products.data[0].y)
    drawn = [
        _drawn(ids.VECTORS, vectors, "Vectors of CLS", ""),
        _drawn(ids.SCORES, scores, "Scores before softmax", "One mark for each token."),
        _drawn(ids.PRODUCTS, products, f"CLS × {name}", f"Query × key, sum {total:.3g}."),
    ]
    return [
        html.H2(f"Inside layer {selection.layer}, head {selection.head}"),
        html.P(scale_sentence(record, layer=selection.layer, head=selection.head), className="hint"),
        _token_control(token, record.sizes["token"]),
        html.Div(drawn, className="curves"),
    ]


def _drawn(component_id: str, figure: Figure, title: str, remark: str) -> html.Figure:
    figure.update_layout(margin={"l": 52, "r": 8})
    return graph(figure, component_id=component_id, title=title, remark=remark, style={"height": "260px"})


def _token(record: xr.Dataset, selection: Selection) -> int:
    if not selection.token:
        return most_attended(record, layer=selection.layer, head=selection.head)
    return checked_index("token", int(selection.token), record.sizes["token"])


def _token_control(token: int, tokens: int) -> dmc.NumberInput:
    return dmc.NumberInput(
        id=ids.TOKEN,
        label=f"Token for query × key, 0 to {tokens - 1}",
        value=token,
        min=0,
        max=tokens - 1,
        allowDecimal=False,
        allowNegative=False,
        clampBehavior="strict",
        debounce=300,
        className="token-control",
    )
