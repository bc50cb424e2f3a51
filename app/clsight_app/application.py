"""The dashboard in one screen: models go in, a Dash app comes out."""

from collections.abc import Sequence
from pathlib import Path

from dash import Dash

from clsight_app import exports, navigation, routing
from clsight_app.catalog import Catalog, Source
from clsight_app.components.controls import controls
from clsight_app.components.shell import HTML, shell
from clsight_app.failures import tell_failure
from clsight_app.jobs import Jobs
from clsight_app.pages import compare, data_set, inspect, trust
from clsight_app.record_files import RecordFiles
from clsight_app.security import bound_requests, forbid_other_hosts
from clsight_app.state import Selection


def create_app(
    models: Sequence[Path | Source], *, jobs: Jobs | None = None, roots: Sequence[Path] = ()
) -> Dash:
    """Return the dashboard over these models; `.server` is its WSGI application.

    Args:
        models: Model folders or files that `clsight.load` takes, or sources with options; at least one.
        jobs: Does long work; by default threads of its own, which end with the process.
        roots: Folders whose record files can be opened.

    Raises:
        AppError: There is no model.
        CheckpointError: A model cannot be loaded.
    """
    catalog = Catalog(models)
    catalog.load_all()
    app = Dash(
        __name__,
        title="clsight",
        update_title="",
        index_string=HTML,
        suppress_callback_exceptions=True,
        on_error=tell_failure,
    )
    first = Selection(model=catalog.first)
    samples = navigation.sample_count(catalog, first.model)
    app.layout = shell(controls(first, models=catalog.models, samples=samples), navigation.told(catalog))
    routing.register(app)
    navigation.register(app, catalog)
    inspect.register(app, catalog)
    compare.register(app, catalog)
    jobs = jobs or Jobs()
    data_set.register(app, catalog, RecordFiles(roots), jobs)
    trust.register(app, catalog, jobs)
    exports.register(app.server, catalog)
    forbid_other_hosts(app.server)
    bound_requests(app.server)
    return app
