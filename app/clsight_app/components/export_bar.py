"""The line under the maps that saves a view: figures, numbers, the record, one HTML file, Python."""

from typing import Any, Final

from dash import dcc, html

from clsight_app import ids
from clsight_app.exports import EXPORTS
from clsight_app.state import Selection, to_query

_WORDS: Final = {
    "values.csv": "Numbers of the grid (CSV)",
    "record.zarr.zip": "Record",
    "view.html": "This view (HTML)",
    "view.py": "Python file",
}


def export_bar(selection: Selection, code: str) -> list[Any]:
    """Return links that save a view, buttons that save the grid as a picture, and the view as Python.

    Args:
        selection: The view.
        code: The view as Python.
    """
    pictures = [_picture_button(kind) for kind in ("png", "svg")]
    links = [
        html.A(_WORDS[name], href=f"/export/{name}{to_query(selection)}", download=name, className="export")
        for name in EXPORTS
    ]
    copy = dcc.Clipboard(target_id=ids.CODE, className="copy", title="Copy to the clipboard")
    return [
        html.H2("Save this view"),
        html.Div([*pictures, *links], className="exports"),
        html.Details(
            [html.Summary("Copy as Python"), html.Div([copy, html.Pre(code, id=ids.CODE)], className="code")]
        ),
    ]


def _picture_button(kind: str) -> html.Button:
    """Return the button that assets/pictures.js saves the grid by."""
    data: dict[str, Any] = {"data-picture": kind}
    return html.Button(f"Grid ({kind.upper()})", className="export", **data)
