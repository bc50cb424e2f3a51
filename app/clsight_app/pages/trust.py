"""Trust: how faithful chosen measures are for a model, computed on demand beside a random ranking."""

from typing import Any, Final

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update, set_props
from flask import Response, abort

from clsight.errors import ClsightError
from clsight.faithfulness import ATTRIBUTIONS
from clsight_app import ids, navigation
from clsight_app.catalog import Catalog
from clsight_app.components.notice import error_notice
from clsight_app.components.python_code import python_code
from clsight_app.components.trust_table import metric_cards, trust_curves, trust_table
from clsight_app.jobs import Jobs, JobState
from clsight_app.state import checked_model, from_query
from clsight_app.trusting import (
    DEFAULT_MEASURES,
    DEFAULT_SAMPLES,
    Trust,
    TrustRequest,
    checked_request,
    python_of,
    query_of,
    request_of,
    trust_work,
)
from clsight_app.views.trust import csv_of, headline, like_random, told_removal
from clsight_app.watching import watched

POLL_MILLISECONDS: Final = 400
_HINT: Final = (
    "Which measure names the tokens that this model's answer rests on? Tokens are taken out in the order "
    "each measure ranks them, and the answer tells. A random ranking is always compared too."
)


def layout() -> list[Any]:
    """Return the regions of the page, still empty; `view` fills them."""
    return [
        html.H1("Trust", className="visually-hidden"),
        html.Div(
            [
                html.P(_HINT, className="sentence"),
                _measures(),
                html.Div([_samples(), _start(), _cancel()], className="job-controls"),
                html.Div(id=ids.TRUST_STATUS, className="job-status"),
                html.Div(id=ids.TRUST_RESULT),
                html.H2("What the metrics ask"),
                metric_cards(),
                dcc.Interval(id=ids.TRUST_POLL, interval=POLL_MILLISECONDS, disabled=True),
                dcc.Store(id=ids.TRUST_SEEN),
            ],
            id=ids.TRUST_PAGE,
            className="all-examples",
        ),
    ]


def view(catalog: Catalog, jobs: Jobs, query: str | None, *, dark: bool) -> dict[str, Any]:
    """Return what the regions of the page show for an address.

    Args:
        catalog: The models.
        jobs: What is computed and was computed.
        query: The query string of the address.
        dark: Draw for the dark color scheme.

    Returns:
        By region: `measures`, `samples`, `most`, `label` of the controls; `status`, `result`, `idle` (whether
        nothing is to be asked for), `no_cancel`.
    """
    try:
        request, job = _located(catalog, query)
    except ClsightError as error:
        kept = dict.fromkeys(("measures", "samples", "most", "label"), no_update)
        return {**kept, "status": error_notice(error), "result": [], "idle": True, "no_cancel": True}
    examples = len(catalog.examples(request.model))
    state = jobs.state(job) if job else None
    return {
        "measures": list(request.measures),
        "samples": request.samples,
        "most": examples,
        "label": f"Examples, 1 to {examples}",
        "result": _result(catalog, request, state, dark=dark),
        **watched(state, job),
    }


def start(catalog: Catalog, jobs: Jobs, query: str | None, measures: list[str], samples: Any) -> str:
    """Start the job that the controls ask for; return the address that shows it.

    Raises:
        AppError: The controls ask for nothing that can be computed, or too many jobs wait.
        ClsightError: The model cannot be loaded.
    """
    model = checked_model(from_query(query), catalog.models, first=catalog.first).model
    chosen = TrustRequest(model, tuple(measures or ()), samples if isinstance(samples, int) else 0)
    request = checked_request(chosen, examples=len(catalog.examples(model)))
    jobs.start(request.job, trust_work(catalog.subject(model), request))
    return query_of(request, query)


def register(app: Dash, catalog: Catalog, jobs: Jobs) -> None:
    """Add the callbacks of the page, and the address of its CSV."""
    watching = {
        "status": Output(ids.TRUST_STATUS, "children", allow_duplicate=True),
        "idle": Output(ids.TRUST_POLL, "disabled", allow_duplicate=True),
        "no_cancel": Output(ids.TRUST_CANCEL, "disabled", allow_duplicate=True),
    }

    @app.callback(
        output={
            "measures": Output(ids.TRUST_MEASURES, "value"),
            "samples": Output(ids.TRUST_SAMPLES, "value"),
            "most": Output(ids.TRUST_SAMPLES, "max"),
            "label": Output(ids.TRUST_SAMPLES, "label"),
            "result": Output(ids.TRUST_RESULT, "children"),
            "status": Output(ids.TRUST_STATUS, "children"),
            "idle": Output(ids.TRUST_POLL, "disabled"),
            "no_cancel": Output(ids.TRUST_CANCEL, "disabled"),
        },
        inputs={**navigation.FOLLOWS["inputs"], "seen": Input(ids.TRUST_SEEN, "data")},
        running=navigation.FOLLOWS["running"],
    )
    def _view(query: str, scheme: str, seen: Any) -> dict[str, Any]:
        del seen  # that a job is over: its result is shown
        return view(catalog, jobs, query, dark=scheme == "dark")

    @app.callback(
        output={**watching, "seen": Output(ids.TRUST_SEEN, "data")},
        inputs={"ticks": Input(ids.TRUST_POLL, "n_intervals"), "query": State(ids.URL, "search")},
        prevent_initial_call=True,
    )
    def _poll(ticks: int, query: str) -> dict[str, Any]:
        del ticks
        job = _job_in(query)
        state = jobs.state(job)
        seen = f"{job} {'forgotten' if state is None else state.status}"
        return {**watched(state, job), "seen": seen if state is None or state.is_over else no_update}

    @app.callback(
        output=watching,
        inputs={"clicks": Input(ids.TRUST_START, "n_clicks"), "controls": _controls()},
        prevent_initial_call=True,
    )
    def _start(clicks: int | None, controls: tuple[str, list[str], Any]) -> dict[str, Any]:
        if not clicks:
            return dict.fromkeys(watching, no_update)
        address = start(catalog, jobs, *controls)
        set_props(ids.TRUST_SEEN, {"data": None})
        set_props(ids.URL, {"search": address})
        return watched(jobs.state(_job_in(address)), _job_in(address))

    @app.callback(
        output=watching,
        inputs={"clicks": Input(ids.TRUST_CANCEL, "n_clicks"), "query": State(ids.URL, "search")},
        prevent_initial_call=True,
    )
    def _cancel(clicks: int | None, query: str) -> dict[str, Any]:
        if not clicks:
            return dict.fromkeys(watching, no_update)
        jobs.cancel(_job_in(query))
        return watched(jobs.state(_job_in(query)), _job_in(query))

    @app.server.get("/trust/<job>.csv")  # type: ignore[untyped-decorator]
    def _csv(job: str) -> Response:
        state = jobs.state(job)
        if state is None or not isinstance(state.result, Trust):
            abort(404)
        named = {"Content-Disposition": f'attachment; filename="faithfulness-{job}.csv"'}
        return Response(csv_of(state.result.table), mimetype="text/csv", headers=named)


def _located(catalog: Catalog, query: str | None) -> tuple[TrustRequest, str]:
    model = checked_model(from_query(query), catalog.models, first=catalog.first).model
    return request_of(query, model, examples=len(catalog.examples(model)))


def _job_in(query: str | None) -> str:
    return navigation.parameter(query, "job")


def _result(catalog: Catalog, request: TrustRequest, state: JobState | None, *, dark: bool) -> list[Any]:
    if state is None or not isinstance(state.result, Trust):
        return []
    trust = state.result
    remarks = [like_random(trust.table), told_removal(trust.table), *trust.table.attrs["notes"]]
    return [
        html.P(headline(trust.table), className="sentence"),
        html.P(" ".join(filter(None, remarks)), className="fine-print"),
        trust_table(trust),
        html.Div(
            [
                html.A("Export CSV", href=f"/trust/{request.job}.csv", download="", className="link"),
                python_code(python_of(catalog.subject(request.model), request)),
            ],
            className="exports",
        ),
        html.Section(trust_curves(trust, dark=dark)),
    ]


def _controls() -> tuple[State, State, State]:
    return (
        State(ids.URL, "search"),
        State(ids.TRUST_MEASURES, "value"),
        State(ids.TRUST_SAMPLES, "value"),
    )


def _measures() -> dmc.CheckboxGroup:
    boxes = [
        dmc.Checkbox(value=name, label=one.label, description=one.how + (", many passes" * one.many_passes))
        for name, one in ATTRIBUTIONS.items()
    ]
    return dmc.CheckboxGroup(
        html.Div(boxes, className="checkboxes"),
        id=ids.TRUST_MEASURES,
        label="Measures to compare",
        value=list(DEFAULT_MEASURES),
    )


def _samples() -> dmc.NumberInput:
    return dmc.NumberInput(
        id=ids.TRUST_SAMPLES,
        label="Examples",
        value=DEFAULT_SAMPLES,
        min=1,
        allowDecimal=False,
        allowNegative=False,
        clampBehavior="strict",
        className="example-control",
    )


def _start() -> dmc.Button:
    return dmc.Button("Compute", id=ids.TRUST_START)


def _cancel() -> dmc.Button:
    return dmc.Button("Cancel", id=ids.TRUST_CANCEL, variant="default", disabled=True)
