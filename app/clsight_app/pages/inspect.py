"""Inspect: every layer and head of one example as a map; the selected head in detail; curves over depth."""

from typing import Any

import xarray as xr
from dash import Dash, Input, Output, State, dcc, html, no_update

from clsight import figures
from clsight.errors import ClsightError
from clsight_app import ids, navigation
from clsight_app.catalog import Catalog
from clsight_app.components.doctor_line import doctor_line, waiting_line
from clsight_app.components.graph import CONFIG, map_size, on_page
from clsight_app.components.head_detail import head_detail
from clsight_app.components.labels import labeled
from clsight_app.components.notice import error_notice
from clsight_app.components.over_depth import over_depth
from clsight_app.state import Selection, checked_model, from_query
from clsight_app.views.comparison import notes
from clsight_app.views.head import answer_sentence
from clsight_app.views.sentence import cls_sentence, self_check


def layout() -> list[Any]:
    """Return the regions of the page, still empty; `view` fills them."""
    return [
        html.H1("Inspect", className="visually-hidden"),
        html.Div(waiting_line(), id=ids.DOCTOR),
        html.Div(id=ids.INSPECT_STATUS),
        html.Div(
            [
                html.Section(
                    [
                        html.H2("Layers and heads"),
                        html.P(
                            "Click a tile, or move with the arrow keys. Above an image: CLS itself.",
                            className="hint",
                        ),
                        html.Figure(
                            dcc.Graph(id=ids.GRID, config=CONFIG),
                            **labeled("Weights of CLS, one tile for each layer and head"),
                        ),
                    ]
                ),
                html.Section(id=ids.DETAIL),
                html.Section(id=ids.DEPTH, className="wide"),
            ],
            id=ids.PANELS,
            className="panels waiting",
        ),
    ]


def view(catalog: Catalog, query: str | None, *, dark: bool) -> dict[str, Any]:
    """Return what the regions of the page show for an address.

    Args:
        catalog: The models and their records.
        query: The query string of the address.
        dark: Draw for the dark color scheme.

    Returns:
        By region: `status`, `panels` (a class name), `grid` (a figure), `grid_size`, `detail`, `depth`.
    """
    try:
        selection, record = navigation.located(catalog, query)
        return {
            "status": _status(record),
            "panels": "panels",
            **_grid(record, selection, dark=dark),
            "detail": head_detail(
                record, catalog.image(selection.model, selection.sample), selection, dark=dark
            ),
            "depth": over_depth(
                record,
                head=selection.head,
                remark=f"Bold: head {selection.head}. Thin: the other heads.",
                dark=dark,
            ),
        }
    except ClsightError as error:
        return {
            "status": error_notice(error),
            "panels": "panels waiting",
            "grid": no_update,
            "grid_size": no_update,
            "detail": [],
            "depth": [],
        }


def findings(catalog: Catalog, query: str | None) -> list[Any]:
    """Return the line of the doctor about the model of an address; nothing where it cannot be shown.

    Args:
        catalog: The models and what the doctor found in them.
        query: The query string of the address.
    """
    try:
        selection = checked_model(from_query(query), catalog.models, first=catalog.first)
        return [doctor_line(catalog.findings(selection.model))]
    except ClsightError:
        return []  # the view tells why


def register(app: Dash, catalog: Catalog) -> None:
    """Add the callbacks of the page: the views follow the address, the doctor follows the first of them."""

    @app.callback(
        output={
            "status": Output(ids.INSPECT_STATUS, "children"),
            "panels": Output(ids.PANELS, "className"),
            "grid": Output(ids.GRID, "figure"),
            "grid_size": Output(ids.GRID, "style"),
            "detail": Output(ids.DETAIL, "children"),
            "depth": Output(ids.DEPTH, "children"),
        },
        **navigation.FOLLOWS,
    )
    def _view(query: str, scheme: str) -> dict[str, Any]:
        return view(catalog, query, dark=scheme == "dark")

    @app.callback(
        Output(ids.DOCTOR, "children"), Input(ids.INSPECT_STATUS, "children"), State(ids.VIEW, "data")
    )
    def _findings(_status: Any, query: str) -> list[Any]:
        return findings(catalog, query)  # only once a map is there, so that none waits for the doctor


def _status(record: xr.Dataset) -> list[Any]:
    return [
        html.P(cls_sentence(record), className="sentence"),
        html.P(answer_sentence(record), className="answer"),
        html.P(
            " ".join(["Shares are means over heads.", self_check(record), *notes(record)]),
            className="fine-print",
        ),
    ]


def _grid(record: xr.Dataset, selection: Selection, *, dark: bool) -> dict[str, Any]:
    figure = figures.layer_head_grid(
        record,
        direction=selection.direction,
        selected=(selection.layer, selection.head),
        dark=dark,
    )
    size = map_size(figure)
    return {"grid": on_page(figure), "grid_size": size}
