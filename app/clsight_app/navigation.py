"""From a control to the address: each control changes one part of the selection, and nothing else.

The pages follow the address (see `pages`), so a control never draws anything itself. The next selection is
computed in the browser (assets/navigation.js) from the newest one; the server tells what bounds it.
"""

from typing import Any, Final
from urllib.parse import parse_qsl

import xarray as xr
from dash import ClientsideFunction, Dash, Input, Output, State
from dash.exceptions import PreventUpdate

from clsight.errors import ClsightError
from clsight_app import ids
from clsight_app.catalog import Catalog
from clsight_app.components.controls import example_label
from clsight_app.state import Selection, checked_index, checked_model, from_query
from clsight_app.uploads import decoded

FOLLOWS: Final[dict[str, Any]] = {
    "inputs": {"query": Input(ids.VIEW, "data"), "scheme": Input(ids.SCHEME, "data")},
    "running": [(Output(ids.BUSY, "data"), True, False)],
}
"""What the callback of every view has: it follows the address, and tells when it is at work."""

_CONTROLS: Final = {
    "model": (Input(ids.MODEL, "value"),),
    "limits": (Input(ids.LIMITS, "data"),),
    "sample": (Input(ids.SAMPLE, "value"),),
    "direction": (Input(ids.DIRECTION, "value"),),
    "measure": (Input(ids.MEASURE, "value"),),
    "text": (Input(ids.TEXT, "value"), Input(ids.SECOND, "value")),
    "given": (Input(ids.GIVEN, "data"),),
    "edited": (Input(ids.EDITED, "value"),),
    "words": (Input(ids.WORDS, "checked"),),
    "inside": (Input(ids.INSIDE, "checked"),),
    "token": (Input(ids.TOKEN, "value"),),
    "layer": (Input(ids.LAYER, "value"),),
}
"""The function of assets/navigation.js behind each control. It changes the address by `set_props`, not as an
output: else the views, which follow the address, would wait for every control each time a page is opened."""


def register(app: Dash, catalog: Catalog) -> None:
    """Add a callback for each control, which changes the address, and those that follow the address."""
    for name, inputs in _CONTROLS.items():
        _in_browser(app, name, *inputs, prevent_initial_call=True)
    click = (Output(ids.GRID, "clickData"), Input(ids.GRID, "clickData"))
    _in_browser(app, "tile", *click, prevent_initial_call=True)
    _in_browser(
        app,
        "controls",
        Output(ids.MODEL, "value"),
        Output(ids.SAMPLE, "value"),
        Output(ids.SAMPLE, "max"),
        Output(ids.SAMPLE, "label"),
        Output(ids.DIRECTION, "value"),
        Output(ids.FAILURE, "children"),
        Output(ids.TEXT, "value"),
        Output(ids.SECOND, "value"),
        Output(ids.OWN_INPUT, "className"),
        Input(ids.URL, "search"),
        State(ids.CATALOG, "data"),
    )
    read = (Input(ids.ACKNOWLEDGE, "checked"), State(ids.ACKNOWLEDGED, "data"))
    _in_browser(app, "acknowledge", Output(ids.ACKNOWLEDGED, "data"), *read, prevent_initial_call=True)
    newest = (Input(ids.URL, "search"), Input(ids.BUSY, "data"), State(ids.VIEW, "data"))
    _in_browser(app, "view", Output(ids.VIEW, "data"), *newest)
    _in_browser(
        app, "gridView", Output(ids.GRID_VIEW, "data"), Input(ids.VIEW, "data"), State(ids.GRID_VIEW, "data")
    )
    _in_browser(app, "gridDrawn", Output(ids.OUTLINE, "data"), Input(ids.GRID, "figure"))

    @app.callback(Output(ids.LIMITS, "data"), Input(ids.MODEL, "value"), State(ids.SAMPLE, "value"))
    def _limits(model: str, sample: Any) -> dict[str, Any]:
        return limits(catalog, model, sample if isinstance(sample, int) else 0)

    @app.callback(
        Output(ids.GIVEN, "data"),
        Output(ids.UPLOAD, "contents"),
        Input(ids.UPLOAD, "contents"),
        State(ids.UPLOAD, "filename"),
        prevent_initial_call=True,
    )
    def _given(contents: str | None, filename: str) -> tuple[Any, None]:
        if contents is None:
            raise PreventUpdate  # forgotten below, so that the same file can be dropped again
        return catalog.uploads.add(filename, decoded(contents)), None


def told(catalog: Catalog) -> dict[str, Any]:
    """Return what the browser knows of all models: the first one, their examples, what they take."""
    samples = {model: sample_count(catalog, model) for model in catalog.models}
    labels = {model: example_label(count) for model, count in samples.items()}
    takes = {model: catalog.subject(model).takes for model in catalog.models}
    return {"first": catalog.first, "samples": samples, "labels": labels, "takes": takes}


def limits(catalog: Catalog, model: str, sample: int) -> dict[str, Any]:
    """Return how many layers and heads a model has; only its name, if that cannot be told.

    Args:
        catalog: The models and their records.
        model: Name of a model.
        sample: The example that is shown next; the last one, if the model has no more.
    """
    try:
        sizes = catalog.record(model, min(sample, sample_count(catalog, model) - 1)).sizes
    except ClsightError:
        return {"model": model}  # the page tells why
    return {"model": model, "layers": sizes["layer"], "heads": sizes["head"]}


def located(catalog: Catalog, query: str | None) -> tuple[Selection, xr.Dataset]:
    """Return the selection of an address, checked, and the record it is about.

    Raises:
        AppError: The address names what is not there.
        ClsightError: The model cannot be loaded or captured.
    """
    selection = checked_model(from_query(query), catalog.models, first=catalog.first)
    if selection.asked.is_example:
        checked_index("sample", selection.sample, len(catalog.examples(selection.model)))
    record = catalog.record(selection.model, selection.asked)
    checked_index("layer", selection.layer, record.sizes["layer"])
    checked_index("head", selection.head, record.sizes["head"])
    return selection, record


def parameter(query: str | None, name: str) -> str:
    """Return one part of an address as it stands there; empty where it has none."""
    return dict(parse_qsl((query or "").removeprefix("?"))).get(name, "")


def sample_count(catalog: Catalog, model: str) -> int:
    """Return how many examples a model has, 1 if that cannot be told."""
    try:
        return len(catalog.examples(model))
    except ClsightError:
        return 1


def _in_browser(app: Dash, name: str, *parts: Any, **options: Any) -> None:
    app.clientside_callback(ClientsideFunction("clsight", name), *parts, **options)  # type: ignore[no-untyped-call]
