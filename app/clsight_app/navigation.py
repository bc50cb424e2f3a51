"""From a control to the address: each control changes one part of the selection, and nothing else.

The pages follow the address (see `pages`), so a control never draws anything itself.
"""

from collections.abc import Callable
from typing import Any

import xarray as xr
from dash import Dash, Input, Output, State, set_props

from clsight.errors import AppError, ClsightError
from clsight_app import ids
from clsight_app.catalog import Catalog
from clsight_app.components.controls import example_label
from clsight_app.state import (
    Selection,
    checked_index,
    checked_model,
    fitted,
    from_query,
    moved,
    stepped,
    to_query,
)

_PRESENT = State(ids.URL, "search")


def register(app: Dash, catalog: Catalog) -> None:
    """Add a callback for each control, which changes the address, and one that sets the controls to it.

    The address is changed by `set_props`, not as an output: else the views, which follow the address, would
    wait for every control each time a page is opened.
    """

    @app.callback(
        Output(ids.MODEL, "value"),
        Output(ids.SAMPLE, "value"),
        Output(ids.SAMPLE, "max"),
        Output(ids.SAMPLE, "label"),
        Output(ids.DIRECTION, "value"),
        Output(ids.FAILURE, "children"),
        Input(ids.URL, "search"),
    )
    def _controls(query: str) -> tuple[Any, ...]:
        now = present(catalog, query)
        samples = sample_count(catalog, now.model)
        return now.model, now.sample, samples - 1, example_label(samples), now.direction, None

    @app.callback(Input(ids.MODEL, "value"), _PRESENT, prevent_initial_call=True)
    def _model(model: str, query: str) -> None:
        go(catalog, query, lambda now: now.changed(model=model))

    @app.callback(Input(ids.SAMPLE, "value"), _PRESENT, prevent_initial_call=True)
    def _sample(sample: Any, query: str) -> None:
        if isinstance(sample, int) and sample >= 0:
            go(catalog, query, lambda now: now.changed(sample=sample))

    @app.callback(Input(ids.PREVIOUS, "n_clicks"), _PRESENT, prevent_initial_call=True)
    def _previous(_: int, query: str) -> None:
        go(catalog, query, lambda now: step(catalog, now, -1))

    @app.callback(Input(ids.NEXT, "n_clicks"), _PRESENT, prevent_initial_call=True)
    def _next(_: int, query: str) -> None:
        go(catalog, query, lambda now: step(catalog, now, 1))

    @app.callback(Input(ids.DIRECTION, "value"), _PRESENT, prevent_initial_call=True)
    def _direction(direction: str, query: str) -> None:
        go(catalog, query, lambda now: now.changed(direction=direction))

    @app.callback(Input(ids.LAYER, "value"), _PRESENT, prevent_initial_call=True)
    def _layer(layer: str, query: str) -> None:
        go(catalog, query, lambda now: now.changed(layer=int(layer)))

    @app.callback(Input(ids.KEY_PRESS, "data"), _PRESENT, prevent_initial_call=True)
    def _key(press: dict[str, Any], query: str) -> None:
        go(catalog, query, lambda now: move(catalog, now, press["key"]))


def located(catalog: Catalog, query: str | None) -> tuple[Selection, xr.Dataset]:
    """Return the selection of an address, checked, and the record it is about.

    Raises:
        AppError: The address names what is not there.
        ClsightError: The model cannot be loaded or captured.
    """
    selection = checked_model(from_query(query), catalog.models, first=catalog.first)
    checked_index("sample", selection.sample, len(catalog.examples(selection.model)))
    record = catalog.record(selection.model, selection.sample)
    checked_index("layer", selection.layer, record.sizes["layer"])
    checked_index("head", selection.head, record.sizes["head"])
    return selection, record


def sample_count(catalog: Catalog, model: str) -> int:
    """Return how many examples a model has, 1 if that cannot be told."""
    try:
        return len(catalog.examples(model))
    except ClsightError:
        return 1


def go(catalog: Catalog, query: str | None, change: Callable[[Selection], Selection]) -> None:
    """Set the address to the view after a change, unless that is the present view (inside a callback)."""
    if (wanted := query_after(catalog, query, change)) is not None:
        set_props(ids.URL, {"search": wanted})


def query_after(catalog: Catalog, query: str | None, change: Callable[[Selection], Selection]) -> str | None:
    """Return the query of the view after a change, fitted to what is there; None if nothing changes.

    Args:
        catalog: The models, which bound the selection.
        query: The present query string; an unreadable one counts as the first view.
        change: Gives the selection wanted.
    """
    now = present(catalog, query)
    wanted = change(now)
    return None if wanted == now else to_query(fitted_to(catalog, wanted))


def present(catalog: Catalog, query: str | None) -> Selection:
    """Return the selection of an address, the first view where the address tells none."""
    try:
        return checked_model(from_query(query), catalog.models, first=catalog.first)
    except AppError:
        return Selection(model=catalog.first)


def fitted_to(catalog: Catalog, selection: Selection) -> Selection:
    """Return the selection with each index within what its model has; as it is, if that cannot be told."""
    try:
        samples = len(catalog.examples(selection.model))
        near = fitted(selection, samples=samples)
        sizes = catalog.record(near.model, near.sample).sizes
        return fitted(near, layers=sizes["layer"], heads=sizes["head"])
    except ClsightError:
        return selection  # the page tells why


def step(catalog: Catalog, now: Selection, by: int) -> Selection:
    """Return the selection some examples further."""
    return stepped(now, by, samples=len(catalog.examples(now.model)))


def move(catalog: Catalog, now: Selection, key: str) -> Selection:
    """Return the selection after an arrow key."""
    sizes = catalog.record(now.model, now.sample).sizes
    return moved(now, key, layers=sizes["layer"], heads=sizes["head"])
