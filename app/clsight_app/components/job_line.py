"""How far a job has come: a bar and a sentence, which a screen reader hears as they change."""

from typing import Any

from dash import html

from clsight_app.components.labels import labeled
from clsight_app.jobs import JobState
from clsight_app.views.trust import told_state


def job_line(state: JobState) -> html.Div:
    """Return the line of a job that is not done."""
    return html.Div(
        [*_bar(state), html.Span(told_state(state))],
        className=f"job job-{state.status}",
        role="alert" if state.status == "failed" else "status",
    )


def _bar(state: JobState) -> list[Any]:
    if state.is_over:
        return []
    done, total = state.progress.done, state.progress.total
    value: dict[str, Any] = {"value": str(done), "max": str(total)} if done < total else {}
    return [html.Progress(**value, **labeled("Progress"))]
