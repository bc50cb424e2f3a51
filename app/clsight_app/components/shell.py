"""What surrounds every page: the document, the header with its links, and the color scheme."""

from typing import Any, Final

import dash_mantine_components as dmc
from dash import dcc, html

from clsight.figures.theme import FONT
from clsight_app import ids
from clsight_app.components.labels import labeled

PAGES: Final = {"/": "Inspect", "/compare": "Compare", "/data-set": "Data set", "/trust": "Trust"}
LINKS: Final = {
    "/": ids.INSPECT_LINK,
    "/compare": ids.COMPARE_LINK,
    "/data-set": ids.DATASET_LINK,
    "/trust": ids.TRUST_LINK,
}

HTML: Final = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="description" content="What the [CLS] token attends to, and what attends to it.">
    <title>{%title%}</title>
    <link rel="icon" type="image/svg+xml" href="/assets/icon.svg">
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>{%config%}{%scripts%}{%renderer%}</footer>
  </body>
</html>
"""

_THEME: Final = {
    "primaryColor": "orange",
    "primaryShade": {"light": 9, "dark": 4},
    "autoContrast": True,
    "fontFamily": FONT,
    "headings": {"fontFamily": FONT, "fontWeight": "600"},
    "defaultRadius": "sm",
}


def shell(controls: html.Div, catalog: dict[str, Any]) -> dmc.MantineProvider:
    """Return the frame of the dashboard around the controls; the page is put into it by its address.

    Args:
        controls: The controls above every page.
        catalog: What the browser knows of the models, see `navigation.told`.
    """
    return dmc.MantineProvider(
        [
            dcc.Location(id=ids.URL, refresh=False),
            dcc.Store(id=ids.CATALOG, data=catalog),
            dcc.Store(id=ids.LIMITS),
            dcc.Store(id=ids.VIEW),
            dcc.Store(id=ids.GRID_VIEW),
            dcc.Store(id=ids.GIVEN),
            dcc.Store(id=ids.ACKNOWLEDGED, data=[], storage_type="session"),
            dcc.Store(id=ids.BUSY, data=False),
            dcc.Store(id=ids.SCHEME),
            _header(),
            html.Main([controls, html.Div(id=ids.FAILURE), html.Div(id=ids.PAGE)], className="frame"),
        ],
        theme=_THEME,
        defaultColorScheme="auto",
    )


def _header() -> html.Header:
    links = [dcc.Link(title, id=LINKS[path], href=path) for path, title in PAGES.items()]
    return html.Header(
        [
            html.Span("clsight", className="brand"),
            html.Nav(links, className="navigation", **labeled("Pages")),
            dmc.ColorSchemeToggle(
                id=ids.COLOR_SCHEME,
                lightIcon=html.Span(className="icon icon-sun"),
                darkIcon=html.Span(className="icon icon-moon"),
                variant="subtle",
                color="gray",
                size="lg",
                **labeled("Switch between the light and the dark color scheme"),
            ),
        ],
        className="header",
    )
