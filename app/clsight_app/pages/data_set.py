"""Data set: what heads do over many samples, of a model's examples or of a record file."""

from typing import Any, Final

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update, set_props
from flask import Response, abort

from clsight.errors import ClsightError
from clsight_app import ids, navigation
from clsight_app.catalog import Catalog
from clsight_app.components.dataset_controls import (
    EXAMPLES,
    choices,
    job_buttons,
    samples_control,
    source_control,
)
from clsight_app.components.notice import error_notice
from clsight_app.components.python_code import python_code
from clsight_app.dataset import (
    DatasetView,
    Measured,
    SampleRequest,
    checked_samples,
    count_of,
    dataset_work,
    job_of,
    python_of,
    query_of,
    request_of,
)
from clsight_app.jobs import Jobs
from clsight_app.record_files import RecordFiles
from clsight_app.samples_shown import heads_of, result
from clsight_app.state import checked_model, from_query
from clsight_app.views import dataset as views
from clsight_app.watching import watched

POLL_MILLISECONDS: Final = 400
_HINT: Final = (
    "What does each head do over many samples, and which samples are extreme? Choose the model's examples "
    "or a record file, and compute."
)
_CONTROLS: Final = ("source", "sources", "samples", "most", "label")
_CHOICES: Final = ("choices", "x", "y", "group", "groups", "layer", "layers", "head", "heads")


def layout() -> list[Any]:
    """Return the regions of the page, still empty; `view` fills them."""
    return [
        html.H1("Data set", className="visually-hidden"),
        html.Div(
            [
                html.P(_HINT, className="sentence"),
                html.Div([source_control(), samples_control(), *job_buttons()], className="job-controls"),
                html.Div(id=ids.DATASET_STATUS, className="job-status"),
                html.Div(choices(), id=ids.DATASET_CHOICES, className="job-controls hidden"),
                html.Div(id=ids.DATASET_RESULT),
                dcc.Interval(id=ids.DATASET_POLL, interval=POLL_MILLISECONDS, disabled=True),
                dcc.Store(id=ids.DATASET_SEEN),
            ],
            id=ids.DATASET_PAGE,
            className="all-examples",
        ),
    ]


def view(
    catalog: Catalog, files: RecordFiles, jobs: Jobs, query: str | None, *, dark: bool
) -> dict[str, Any]:
    """Return what the regions of the page show for an address.

    Args:
        catalog: The models.
        files: The record files.
        jobs: What is computed and was computed.
        query: The query string of the address.
        dark: Draw for the dark color scheme.

    Returns:
        By region: those of the controls, `choices` (a class name) and the choices; `status`, `result`, `idle`
        (whether nothing is to be asked for), `no_cancel`.
    """
    kept = dict.fromkeys((*_CONTROLS, *_CHOICES), no_update)
    hidden = {"choices": "job-controls hidden", "result": []}
    try:
        request, shown, job, most = request_of(catalog, files, query)
        state = jobs.state(job) if job else None
        told = {
            **kept,
            **hidden,
            "source": f"file:{request.record}" if request.record else EXAMPLES,
            "sources": _sources(files),
            "samples": request.samples,
            "most": most,
            "label": f"Samples, 1 to {most:,}",
            **watched(state, job),
        }
        if state is not None and isinstance(state.result, Measured):
            told |= result(catalog, state.result, shown, job, dark=dark)
            told["result"] = [*told["result"], _exports(catalog, files, request, shown, job)]
        return told
    except ClsightError as error:
        return {**kept, **hidden, "status": error_notice(error), "idle": True, "no_cancel": True}


def start(
    catalog: Catalog, files: RecordFiles, jobs: Jobs, query: str | None, chosen: tuple[str, Any]
) -> str:
    """Start the job that the controls ask for; return the address that shows it.

    Args:
        catalog: The models.
        files: The record files.
        jobs: Does the work.
        query: The query string of the address.
        chosen: The source, and how many samples; the most there are where that is no number.

    Raises:
        AppError: The controls ask for nothing that can be computed, or too many jobs wait.
        ClsightError: The model or the record cannot be read.
    """
    source, samples = chosen
    model = checked_model(from_query(query), catalog.models, first=catalog.first).model
    record = source.removeprefix("file:") if source and source.startswith("file:") else ""
    most = count_of(catalog, files, model, record)
    asked = SampleRequest(model, record, samples if isinstance(samples, int) else 0)
    if record != navigation.parameter(query, "record"):  # the number beside it was that of the other source
        asked, query = SampleRequest(model, record, min(most, 10_000)), ""
    request = checked_samples(asked, most)
    job = job_of(request, files)
    jobs.start(job, dataset_work(catalog, files, request))
    return query_of(request, job, query)


def register(app: Dash, catalog: Catalog, files: RecordFiles, jobs: Jobs) -> None:
    """Add the callbacks of the page, and the address of its CSV."""
    _register_choices(app)
    watching = {
        "status": Output(ids.DATASET_STATUS, "children", allow_duplicate=True),
        "idle": Output(ids.DATASET_POLL, "disabled", allow_duplicate=True),
        "no_cancel": Output(ids.DATASET_CANCEL, "disabled", allow_duplicate=True),
    }

    @app.callback(
        output=_outputs(),
        inputs={**navigation.FOLLOWS["inputs"], "seen": Input(ids.DATASET_SEEN, "data")},
        running=navigation.FOLLOWS["running"],
    )
    def _view(query: str, scheme: str, seen: Any) -> dict[str, Any]:
        del seen  # that a job is over: its result is shown
        return view(catalog, files, jobs, query, dark=scheme == "dark")

    @app.callback(
        output={**watching, "seen": Output(ids.DATASET_SEEN, "data")},
        inputs={"ticks": Input(ids.DATASET_POLL, "n_intervals"), "query": State(ids.URL, "search")},
        prevent_initial_call=True,
    )
    def _poll(ticks: int, query: str) -> dict[str, Any]:
        del ticks
        job = navigation.parameter(query, "job")
        state = jobs.state(job)
        seen = f"{job} {'forgotten' if state is None else state.status}"
        return {**watched(state, job), "seen": seen if state is None or state.is_over else no_update}

    @app.callback(
        output=watching,
        inputs={
            "clicks": Input(ids.DATASET_START, "n_clicks"),
            "query": State(ids.URL, "search"),
            "chosen": (State(ids.DATASET_SOURCE, "value"), State(ids.DATASET_SAMPLES, "value")),
        },
        prevent_initial_call=True,
    )
    def _start(clicks: int | None, query: str, chosen: tuple[str, Any]) -> dict[str, Any]:
        if not clicks:
            return dict.fromkeys(watching, no_update)
        address = start(catalog, files, jobs, query, chosen)
        set_props(ids.DATASET_SEEN, {"data": None})
        set_props(ids.URL, {"search": address})
        job = navigation.parameter(address, "job")
        return watched(jobs.state(job), job)

    @app.callback(
        output=watching,
        inputs={"clicks": Input(ids.DATASET_CANCEL, "n_clicks"), "query": State(ids.URL, "search")},
        prevent_initial_call=True,
    )
    def _cancel(clicks: int | None, query: str) -> dict[str, Any]:
        if not clicks:
            return dict.fromkeys(watching, no_update)
        job = navigation.parameter(query, "job")
        jobs.cancel(job)
        return watched(jobs.state(job), job)

    @app.server.get("/data-set/<job>.csv")  # type: ignore[untyped-decorator]
    def _heads_csv(job: str) -> Response:
        state = jobs.state(job)
        if state is None or not isinstance(state.result, Measured):
            abort(404)
        named = {"Content-Disposition": f'attachment; filename="heads-{job}.csv"'}
        heads = heads_of(catalog, state.result, job, "")
        return Response(views.csv_of(heads), mimetype="text/csv", headers=named)


def _register_choices(app: Dash) -> None:
    """Let each choice change its part of the address, in the browser (assets/addresses.js)."""
    for name, part in {
        "putX": Input(ids.DATASET_X, "value"),
        "putY": Input(ids.DATASET_Y, "value"),
        "putGroup": Input(ids.DATASET_GROUP, "value"),
        "putLayer": Input(ids.DATASET_LAYER, "value"),
        "putHead": Input(ids.DATASET_HEAD, "value"),
    }.items():
        app.clientside_callback(  # type: ignore[no-untyped-call]
            ClientsideFunction("clsight", name), part, prevent_initial_call=True
        )
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("clsight", "pickHead"),
        Output(ids.DATASET_SCATTER, "clickData"),
        Input(ids.DATASET_SCATTER, "clickData"),
        prevent_initial_call=True,
    )


def _outputs() -> dict[str, Output]:
    return {
        "source": Output(ids.DATASET_SOURCE, "value"),
        "sources": Output(ids.DATASET_SOURCE, "data"),
        "samples": Output(ids.DATASET_SAMPLES, "value"),
        "most": Output(ids.DATASET_SAMPLES, "max"),
        "label": Output(ids.DATASET_SAMPLES, "label"),
        "choices": Output(ids.DATASET_CHOICES, "className"),
        "x": Output(ids.DATASET_X, "value"),
        "y": Output(ids.DATASET_Y, "value"),
        "group": Output(ids.DATASET_GROUP, "value"),
        "groups": Output(ids.DATASET_GROUP, "data"),
        "layer": Output(ids.DATASET_LAYER, "value"),
        "layers": Output(ids.DATASET_LAYER, "max"),
        "head": Output(ids.DATASET_HEAD, "value"),
        "heads": Output(ids.DATASET_HEAD, "max"),
        "status": Output(ids.DATASET_STATUS, "children"),
        "result": Output(ids.DATASET_RESULT, "children"),
        "idle": Output(ids.DATASET_POLL, "disabled"),
        "no_cancel": Output(ids.DATASET_CANCEL, "disabled"),
    }


def _exports(
    catalog: Catalog, files: RecordFiles, request: SampleRequest, shown: DatasetView, job: str
) -> html.Div:
    return html.Div(
        [
            html.A("Export CSV", href=f"/data-set/{job}.csv", download="", className="link"),
            python_code(python_of(catalog, files, request, shown)),
        ],
        className="exports",
    )


def _sources(files: RecordFiles) -> list[dict[str, str]]:
    found = [{"value": f"file:{name}", "label": name} for name in files.names()]
    return [{"value": EXAMPLES, "label": "Examples of the model"}, *found]
