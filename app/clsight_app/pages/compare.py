"""Compare: the models that share their examples side by side on one of them, and their curves over depth."""

from typing import Any

from dash import Dash, Output, html

from clsight import figures
from clsight.errors import ClsightError
from clsight_app import ids, navigation
from clsight_app.catalog import Catalog
from clsight_app.components.controls import DIRECTION_LABELS, layer_control
from clsight_app.components.graph import comparison_size, graph
from clsight_app.components.labels import labeled
from clsight_app.components.notice import error_notice
from clsight_app.components.numbers import answer_table
from clsight_app.components.over_depth import over_depth
from clsight_app.peers import Peers, peers_of
from clsight_app.state import Selection
from clsight_app.views.comparison import answers, comparison_sentence, notes


def layout() -> list[Any]:
    """Return the regions of the page, still empty; `view` fills them."""
    return [
        html.H1("Compare", className="visually-hidden"),
        html.Div(id=ids.COMPARE_STATUS),
        html.Div(id=ids.COMPARISON),
    ]


def view(catalog: Catalog, query: str | None, *, dark: bool) -> dict[str, Any]:
    """Return what the regions of the page show for an address.

    Args:
        catalog: The models and their records.
        query: The query string of the address; its model is the one the others are compared with.
        dark: Draw for the dark color scheme.

    Returns:
        By region: `status` and `comparison`.
    """
    try:
        selection, _ = navigation.located(catalog, query)
        peers = peers_of(catalog, selection)
        return {"status": _status(peers, selection), "comparison": _comparison(peers, selection, dark=dark)}
    except ClsightError as error:
        return {"status": error_notice(error), "comparison": []}


def register(app: Dash, catalog: Catalog) -> None:
    """Add the callback of the page: the views follow the address."""

    @app.callback(
        output={
            "status": Output(ids.COMPARE_STATUS, "children"),
            "comparison": Output(ids.COMPARISON, "children"),
        },
        **navigation.FOLLOWS,
    )
    def _view(query: str, scheme: str) -> dict[str, Any]:
        return view(catalog, query, dark=scheme == "dark")


def _status(peers: Peers, selection: Selection) -> list[Any]:
    told = comparison_sentence(
        peers.stacked, peers.reference, layer=selection.layer, direction=selection.direction
    )
    remarks = ["Shares are means over heads.", *notes(peers.stacked)]
    remarks += [f"{model} is left out: {reason}" for model, reason in peers.left_out.items()]
    return [html.P(told, className="sentence"), html.P(" ".join(remarks), className="fine-print")]


def _comparison(peers: Peers, selection: Selection, *, dark: bool) -> list[Any]:
    stacked, layer = peers.stacked, selection.layer
    figure = figures.compare_strategies(
        stacked,
        sample=0,
        layer=layer,
        direction=selection.direction,
        reference=peers.reference,
        dark=dark,
    )
    maps = graph(
        figure,
        component_id=ids.STRATEGIES,
        title=f"{DIRECTION_LABELS[selection.direction]}, layer {layer}, mean over heads",
        style=comparison_size(figure),
        remark=f"Above: weights. Below: the difference to {peers.reference}.",
    )
    table = answer_table(answers(stacked, peers.reference, peers.models, layer=layer))
    return [
        layer_control(stacked["layer"].values.tolist(), layer),
        html.Div(maps, className="scroller", tabIndex="0", **labeled("Maps of the models")),
        html.Div(table, className="scroller", tabIndex="0", **labeled("Answers of the models")),
        html.Section(over_depth(stacked, head=None, remark="Means over heads.", dark=dark)),
    ]
