"""Inspect: every layer and head of one example as a map; the selected head in detail; curves over depth."""

from collections.abc import Sequence
from typing import Any

import xarray as xr
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate
from plotly.graph_objects import Figure

from clsight import figures
from clsight.analysis import MEASURES
from clsight.errors import AppError, ClsightError
from clsight_app import ids, navigation
from clsight_app.catalog import Catalog
from clsight_app.components.controls import measure_control
from clsight_app.components.doctor_line import doctor_line, waiting_line
from clsight_app.components.export_bar import export_bar
from clsight_app.components.graph import CONFIG, map_size, on_page
from clsight_app.components.head_detail import Shown, head_detail
from clsight_app.components.inside_head import KEEP, inside_head
from clsight_app.components.labels import labeled
from clsight_app.components.measure_card import measure_card, weights_card
from clsight_app.components.notice import error_notice
from clsight_app.components.over_depth import over_depth
from clsight_app.exports import code_of
from clsight_app.measuring import measured
from clsight_app.state import Asked, Selection, checked_model, from_query
from clsight_app.views.comparison import notes
from clsight_app.views.head import answer_sentence
from clsight_app.views.sentence import cls_sentence, self_check


def layout() -> list[Any]:
    """Return the regions of the page, still empty; the views fill them."""
    return [
        html.H1("Inspect", className="visually-hidden"),
        dcc.Store(id=ids.OUTLINE),
        html.Div(waiting_line(), id=ids.DOCTOR),
        html.Div(id=ids.INSPECT_STATUS),
        html.Div(
            [
                html.Section(
                    [
                        html.H2("Layers and heads"),
                        measure_control(),
                        html.Div(id=ids.MEASURE_CARD),
                        html.Figure(
                            dcc.Graph(id=ids.GRID, config=CONFIG),
                            **labeled("One tile for each layer and head"),
                        ),
                        html.P(
                            "Click a tile, or move with the arrow keys. On top of an image: CLS itself.",
                            className="hint",
                        ),
                    ]
                ),
                html.Section(id=ids.DETAIL),
                html.Section(id=ids.INSIDE_PANEL, className="wide"),
                html.Section(id=ids.DEPTH, className="wide"),
                html.Section(id=ids.EXPORTS, className="wide"),
            ],
            id=ids.PANELS,
            className="panels waiting",
        ),
    ]


def view(catalog: Catalog, query: str | None, *, dark: bool) -> dict[str, Any]:
    """Return what the page shows of the selected head for an address.

    Args:
        catalog: The models and their records.
        query: The query string of the address.
        dark: Draw for the dark color scheme.

    Returns:
        By region: `status`, `panels` (a class name), `detail`, `inside`, `exports`.
    """
    try:
        selection, record = navigation.located(catalog, query)
        shown = _shown(catalog, selection, record)
        return {
            "status": catalog.remembered(
                ("status", selection.model, selection.asked), lambda: _status(record)
            ),
            "panels": "panels",
            "detail": head_detail(shown, selection, dark=dark),
            "inside": _inside(catalog, selection, dark=dark),
            "exports": export_bar(selection, code_of(catalog, selection, record)),
        }
    except ClsightError as error:
        return {
            "status": error_notice(error),
            "panels": "panels waiting",
            "detail": [],
            "inside": [],
            "exports": [],
        }


def grid(catalog: Catalog, query: str | None, *, dark: bool, shown: str | None = None) -> dict[str, Any]:
    """Return the grid for an address: the weights, or the measure that the address names.

    Args:
        catalog: The models and their records.
        query: The query string of the address.
        dark: Draw for the dark color scheme.
        shown: The whole address, whose head is outlined if it has one that exists; by default the query.

    Returns:
        By region: `grid` (a figure), `grid_size`, `card`. What the model or the record lacks for a measure is
        told in place of the card.
    """
    try:
        selection, record = navigation.located(catalog, query)
        selection = _outlined(selection, record, query if shown is None else shown)
        if selection.measure:
            card, figure = _measured(catalog, selection, dark=dark)
        else:
            card, figure = weights_card(selection.direction), _weights(record, selection, dark=dark)
    except ClsightError as error:
        hidden = {"grid": {"data": [], "layout": {}}, "grid_size": {"display": "none"}}
        return {**hidden, "card": error_notice(error)}
    size = map_size(figure)  # before it loses the height that it asks for
    return {"grid": on_page(figure), "grid_size": size, "card": card}


def depth(catalog: Catalog, query: str | None, *, dark: bool) -> list[Any]:
    """Return the curves over the layers for an address, the selected head bold; nothing where it has none."""
    try:
        selection, record = navigation.located(catalog, query)
        remark = f"Bold: head {selection.head}. Thin: the other heads."
        return over_depth(record, head=selection.head, remark=remark, dark=dark)
    except ClsightError:
        return []  # the view tells why


def findings(catalog: Catalog, query: str | None, acknowledged: Sequence[str] = ()) -> list[Any]:
    """Return the line of the doctor about the model of an address; nothing where it cannot be shown.

    Args:
        catalog: The models and what the doctor found in them.
        query: The query string of the address.
        acknowledged: The models whose errors were read; the maps of others are struck through.
    """
    try:
        model = checked_model(from_query(query), catalog.models, first=catalog.first).model
        return [doctor_line(catalog.findings(model), acknowledged=model in acknowledged)]
    except ClsightError:
        return []  # the view tells why


def register(app: Dash, catalog: Catalog) -> None:
    """Add the callbacks: head and grid follow the address; curves and doctor come after the head."""

    @app.callback(
        output={
            "status": Output(ids.INSPECT_STATUS, "children"),
            "panels": Output(ids.PANELS, "className"),
            "detail": Output(ids.DETAIL, "children"),
            "inside": Output(ids.INSIDE_PANEL, "children"),
            "exports": Output(ids.EXPORTS, "children"),
        },
        **navigation.FOLLOWS,
    )
    def _view(query: str, scheme: str) -> dict[str, Any]:
        return view(catalog, query, dark=scheme == "dark")

    @app.callback(
        output={
            "grid": Output(ids.GRID, "figure"),
            "grid_size": Output(ids.GRID, "style"),
            "card": Output(ids.MEASURE_CARD, "children"),
        },
        inputs={"query": Input(ids.GRID_VIEW, "data"), "scheme": Input(ids.SCHEME, "data")},
        state={"shown": State(ids.VIEW, "data")},
    )
    def _grid(query: str | None, scheme: str, shown: str) -> dict[str, Any]:
        if query is None:
            raise PreventUpdate
        return grid(catalog, query, dark=scheme == "dark", shown=shown)

    @app.callback(
        Output(ids.DEPTH, "children"),
        Input(ids.DETAIL, "children"),
        State(ids.VIEW, "data"),
        State(ids.SCHEME, "data"),
    )
    def _depth(_detail: Any, query: str, scheme: str) -> list[Any]:
        return depth(catalog, query, dark=scheme == "dark")

    @app.callback(
        Output(ids.DOCTOR, "children"),
        Input(ids.INSPECT_STATUS, "children"),
        State(ids.VIEW, "data"),
        State(ids.ACKNOWLEDGED, "data"),
    )
    def _findings(_status: Any, query: str, acknowledged: list[str] | None) -> list[Any]:
        return findings(catalog, query, acknowledged or ())  # only once a map is there: none waits for it


def _status(record: xr.Dataset) -> list[Any]:
    return [
        html.P(cls_sentence(record), className="sentence"),
        html.P(answer_sentence(record), className="answer"),
        html.P(
            " ".join(["Shares are means over heads.", self_check(record), *notes(record)]),
            className="fine-print",
        ),
    ]


def _shown(catalog: Catalog, selection: Selection, record: xr.Dataset) -> Shown:
    """Return what the head is shown on: a picture, a text and its second version, or the tokens alone."""
    text = catalog.text(selection.model, selection.asked)
    edited = None
    if text and selection.edited not in ("", text):
        pair = catalog.input(selection.model, selection.asked).inputs
        second = str(pair[0, 1]) if pair.ndim == 2 else ""
        edited = catalog.record(selection.model, Asked(text=selection.edited, second=second))
    return Shown(record, catalog.image(selection.model, selection.asked), text, edited)


def _inside(catalog: Catalog, selection: Selection, *, dark: bool) -> list[Any]:
    """Return what the head computes with, where that is asked for."""
    if not selection.inside:
        return []
    record = catalog.record(selection.model, selection.asked, KEEP)
    return inside_head(record, selection, dark=dark)


def _outlined(selection: Selection, record: xr.Dataset, shown: str | None) -> Selection:
    """Return the selection with the layer and head of the whole address, the first where it names none."""
    try:
        place = from_query(shown)
    except AppError:
        return selection  # the view tells why
    fits = place.layer < record.sizes["layer"] and place.head < record.sizes["head"]
    return selection.changed(layer=place.layer, head=place.head) if fits else selection


def _weights(record: xr.Dataset, selection: Selection, *, dark: bool) -> Figure:
    return figures.layer_head_grid(
        record, direction=selection.direction, selected=(selection.layer, selection.head), dark=dark
    )


def _measured(catalog: Catalog, selection: Selection, *, dark: bool) -> tuple[Any, Figure]:
    measure = MEASURES[selection.measure]
    record, values = measured(catalog, selection)
    figure = figures.measure_grid(record, values, selected=(selection.layer, selection.head), dark=dark)
    return measure_card(measure), figure
