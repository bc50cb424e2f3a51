"""From the address to the page: which layout stands in the frame, and which link is the present one."""

from typing import Any, Final

from dash import ClientsideFunction, Dash, Input, Output, State

from clsight_app import ids
from clsight_app.components.notice import notice
from clsight_app.components.shell import LINKS, PAGES
from clsight_app.pages import compare, data_set, inspect, trust

_LAYOUTS: Final = {
    "/": inspect.layout,
    "/compare": compare.layout,
    "/data-set": data_set.layout,
    "/trust": trust.layout,
}
_MODEL_LABELS: Final = {"/": "Model", "/compare": "Difference to"}


def register(app: Dash) -> None:
    """Add the callbacks that follow the path: the page and its model control, the links, the color scheme."""

    @app.callback(Output(ids.PAGE, "children"), Output(ids.MODEL, "label"), Input(ids.URL, "pathname"))
    def _page(pathname: str) -> tuple[Any, str]:
        return page(pathname), _MODEL_LABELS.get(pathname, _MODEL_LABELS["/"])

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("clsight", "links"),
        *(Output(link, name) for link in LINKS.values() for name in ("href", "className")),
        Input(ids.URL, "pathname"),
        Input(ids.URL, "search"),
        *(State(link, "href") for link in LINKS.values()),
    )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("clsight", "colorScheme"), Output(ids.SCHEME, "data"), Input(ids.URL, "pathname")
    )


def page(pathname: str) -> Any:
    """Return the layout of a path, or a message that there is none."""
    if pathname in _LAYOUTS:
        return _LAYOUTS[pathname]()
    return notice("There is no such page", f"The pages are {', '.join(PAGES.values())}.", href="/")
