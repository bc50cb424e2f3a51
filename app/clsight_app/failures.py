"""The last resort: an error that no page expected is logged on the server and told on the page."""

import logging

from dash import set_props

from clsight.errors import ClsightError
from clsight_app import ids
from clsight_app.components.notice import error_notice, notice

_log = logging.getLogger(__name__)


def tell_failure(error: Exception) -> None:
    """Say on the page why a view failed; an error that is not clsight's own is logged with its traceback."""
    if isinstance(error, ClsightError):
        told = error_notice(error)
    else:
        _log.error("A view failed", exc_info=error)
        told = notice("This view failed", f"{type(error).__name__}. The server's log tells more.")
    set_props(ids.FAILURE, {"children": told})
