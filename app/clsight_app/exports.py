"""What a view is saved as: numbers as CSV, the record, one HTML file, Python; each under its own link."""

import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, Final

import xarray as xr
from flask import Flask, Response, request
from plotly.graph_objects import Figure

import clsight
from clsight import figures
from clsight.analysis import MEASURES
from clsight.errors import ClsightError
from clsight.schema import DIRECTIONS
from clsight_app import navigation
from clsight_app.catalog import Catalog
from clsight_app.code import Origin, as_python
from clsight_app.measuring import measured, options_of
from clsight_app.state import Selection
from clsight_app.views.head import answer_sentence
from clsight_app.views.sentence import cls_sentence

_Made = tuple[bytes, str]
_STYLE: Final = "body{font:15px system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem}"


def register(server: Flask, catalog: Catalog) -> None:
    """Answer `/export/<name>` and a query string with a file of that view."""

    @server.route("/export/<name>")
    def _export(name: str) -> Response:
        if name not in EXPORTS:
            return Response(f"The exports are {', '.join(EXPORTS)}.", 404, mimetype="text/plain")
        try:
            data, kind = EXPORTS[name](catalog, request.query_string.decode())
        except ClsightError as error:
            return Response(str(error), 400, mimetype="text/plain")
        return Response(data, mimetype=kind, headers={"Content-Disposition": f"attachment; filename={name}"})


def values_csv(catalog: Catalog, query: str) -> _Made:
    """Return the numbers of the grid, a line for each, with the labels of its dims and the text of tokens."""
    selection, record = navigation.located(catalog, query)
    values = measured(catalog, selection)[1] if selection.measure else record[selection.direction]
    values = values.rename(str(values.name or selection.measure))
    labels = [name for name in values.coords if name in (*values.dims, "token_text", "layer_name")]
    table = values.reset_coords(drop=True).assign_coords({name: values[name] for name in labels})
    return table.to_dataframe().reset_index().to_csv(index=False).encode(), "text/csv"


def record_zip(catalog: Catalog, query: str) -> _Made:
    """Return the record as the file that `clsight.save_record` writes, with what the measure needs."""
    selection, record = navigation.located(catalog, query)
    if selection.measure:
        record = measured(catalog, selection)[0]
    with tempfile.TemporaryDirectory() as folder:
        return clsight.save_record(record, Path(folder, "record.zarr.zip")).read_bytes(), "application/zip"


def python_file(catalog: Catalog, query: str) -> _Made:
    """Return the lines that make the view again."""
    selection, record = navigation.located(catalog, query)
    return code_of(catalog, selection, record).encode(), "text/x-python"


def code_of(catalog: Catalog, selection: Selection, record: xr.Dataset) -> str:
    """Return a view as Python."""
    subject = catalog.subject(selection.model)
    origin = Origin(
        load=catalog.code(selection.model),
        takes=subject.takes,
        has_patches=catalog.image(selection.model, selection.asked) is not None,
        draws=subject.strategy == "random_per_forward",
        options=options_of(MEASURES[selection.measure], selection) if selection.measure else {},
    )
    return as_python(selection, origin)


def page_html(catalog: Catalog, query: str) -> _Made:
    """Return the sentences and the figures of the view as one HTML file that asks no other host."""
    selection, record = navigation.located(catalog, query)
    drawn = _figures(catalog, selection, record)
    parts = [
        figure.to_html(
            full_html=False, include_plotlyjs="inline" if number == 0 else False, config=figures.CONFIG
        )
        for number, figure in enumerate(drawn)
    ]
    title = escape(f"{selection.model}: layer {selection.layer}, head {selection.head}")
    told = "".join(f"<p>{escape(text)}</p>" for text in (cls_sentence(record), answer_sentence(record)))
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    page = f'<!DOCTYPE html><html lang="en"><head>{head}</head><body><h1>{title}</h1>{told}{"".join(parts)}'
    return f"{page}</body></html>".encode(), "text/html"


def _figures(catalog: Catalog, selection: Selection, record: xr.Dataset) -> list[Figure]:
    place: dict[str, Any] = {"sample": 0, "layer": selection.layer, "head": selection.head}
    selected = (selection.layer, selection.head)
    if selection.measure:
        grid = figures.measure_grid(*measured(catalog, selection), selected=selected)
    else:
        grid = figures.layer_head_grid(record, direction=selection.direction, selected=selected)
    image = catalog.image(selection.model, selection.asked)
    there = [direction for direction in DIRECTIONS if direction in record]
    if image is None:
        return [grid, *(figures.token_strip(record, **place, direction=direction) for direction in there)]
    return [
        grid,
        *(figures.patch_overlay(record, image, **place, direction=direction) for direction in there),
    ]


EXPORTS: Final[dict[str, Callable[[Catalog, str], _Made]]] = {
    "values.csv": values_csv,
    "record.zarr.zip": record_zip,
    "view.html": page_html,
    "view.py": python_file,
}
"""What `/export/<name>` answers with."""
