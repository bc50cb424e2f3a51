"""What a page shows of a job while it runs, and when it is not known any more."""

from typing import Any, Final

from dash import html

from clsight_app.components.job_line import job_line
from clsight_app.jobs import JobState

_FORGOTTEN: Final = "This result is not kept on the server any more. Compute it again: it comes out the same."


def watched(state: JobState | None, job: str) -> dict[str, Any]:
    """Return what changes while a job runs: `status`, `idle`, `no_cancel`."""
    if state is None:
        forgotten = [html.P(_FORGOTTEN, role="status")] if job else []
        return {"status": forgotten, "idle": True, "no_cancel": True}
    told: Any = [] if state.status == "done" else job_line(state)
    return {"status": told, "idle": state.is_over, "no_cancel": state.is_over or state.is_stopping}
