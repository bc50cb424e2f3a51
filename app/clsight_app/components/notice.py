"""What a page says when it cannot show a view: what happened, and what to do."""

import dash_mantine_components as dmc
from dash import dcc, html

from clsight.errors import ClsightError


def notice(title: str, text: str, *, href: str = "?") -> html.Div:
    """Return a message in place of a view, with a link back to the first view."""
    told = dmc.Alert(
        [html.P(text, className="notice-text"), dcc.Link("Open the first view", href=href, className="link")],
        title=title,
        variant="light",
    )
    return html.Div(told, className="notice", role="alert")


def error_notice(error: ClsightError) -> html.Div:
    """Return the message of an error that a user can act on."""
    return notice("This view cannot be shown", str(error))
