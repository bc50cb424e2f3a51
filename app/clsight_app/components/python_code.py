"""The lines of Python that make the same in a notebook, with a button that copies them."""

from typing import Any

from dash import html

from clsight_app import ids


def python_code(code: str) -> html.Details:
    """Return the code, folded, and its button (assets/copying.js)."""
    copies: dict[str, Any] = {"data-copies": ids.PYTHON}
    return html.Details(
        [
            html.Summary("Copy as Python"),
            html.Button("Copy", className="plain-button", **copies),
            html.Pre(html.Code(code), id=ids.PYTHON, className="code", tabIndex="0"),
        ],
        className="python-code",
    )
