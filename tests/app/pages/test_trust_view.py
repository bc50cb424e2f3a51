"""The Trust page as a function of the address, with real jobs and without a browser."""

import json
import time

import numpy as np
import pytest
import torch
from dash import no_update

from clsight import faithfulness
from clsight.errors import AppError
from clsight_app.application import create_app
from clsight_app.catalog import Catalog
from clsight_app.jobs import Jobs
from clsight_app.navigation import parameter
from clsight_app.pages import trust
from clsight_app.trusting import METRIC_NAMES, TrustRequest, python_of, request_of, trust_work
from hostile_model import NAME, save_hostile_model

ASKED = ("?model=digits-zeros&layer=1", ["rollout", "attention"], 5)
SECONDS = 60


@pytest.fixture(scope="module")
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


@pytest.fixture(scope="module")
def address(catalog, jobs):
    """Return the address of a finished comparison."""
    address = trust.start(catalog, jobs, *ASKED)
    assert finished(jobs, address).status == "done"
    return address


def finished(jobs, address):
    end = time.monotonic() + SECONDS
    while not (state := jobs.state(parameter(address, "job"))).is_over:
        assert time.monotonic() < end
        time.sleep(0.02)
    return state


def page_text(view):
    parts = [view["status"], view["result"]]
    return json.dumps(parts, default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def test_first_view_shows_the_controls_and_asks_for_nothing(catalog, jobs):
    view = trust.view(catalog, jobs, "", dark=False)
    assert view["measures"][0] == "attention"
    assert (view["samples"], view["most"], view["label"]) == (20, 20, "Examples, 1 to 20")
    assert (view["status"], view["result"], view["idle"], view["no_cancel"]) == ([], [], True, True)


def test_start_puts_model_measures_samples_and_job_into_the_address(address):
    assert address.startswith("?model=digits-zeros&layer=1&measures=attention,rollout&samples=5&job=")
    request = TrustRequest("digits-zeros", ("attention", "rollout"), 5)
    assert parameter(address, "job") == request.job


def test_same_question_is_the_same_job_whatever_the_order_of_its_measures(catalog, jobs, address):
    assert trust.start(catalog, jobs, ASKED[0], ["attention", "rollout"], 5) == address


def test_result_is_that_of_compare(catalog, jobs, address):
    subject = catalog.subject("digits-zeros")
    expected = faithfulness.compare(
        subject,
        subject.examples[:5],
        ["attention", "rollout"],
        metrics=METRIC_NAMES,
        batch_size=4,
        progress=False,
    )
    found = jobs.state(parameter(address, "job")).result
    np.testing.assert_array_equal(found.table["estimate"], expected["estimate"])
    np.testing.assert_array_equal(found.table["low"], expected["low"])
    assert found.table["measure"].values.tolist() == ["attention", "rollout", "random"]
    assert found.curves["deletion"].sizes == {"measure": 3, "fraction": 11}
    assert found.nbytes > 0


def test_finished_view_shows_table_curves_export_and_code_for_anyone_who_opens_the_link(
    catalog, jobs, address
):
    view = trust.view(catalog, jobs, address, dark=True)
    text = page_text(view)
    assert (view["measures"], view["samples"]) == (["attention", "rollout"], 5)
    assert (view["status"], view["idle"], view["no_cancel"]) == ([], True, True)
    for part in ("a random ranking", "raw attention", "trust-curves-deletion", "trust-curves-insertion"):
        assert part in text
    assert f'"/trust/{parameter(address, "job")}.csv"' in text
    assert "Tokens were hidden by the mask." in text


def test_code_to_copy_gives_the_same_table(catalog, jobs, address, capsys, monkeypatch):
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda self: None)
    request, job = request_of(address, "digits-zeros", examples=20)
    names = {}
    exec(python_of(catalog.subject("digits-zeros"), request), names)
    expected = jobs.state(job).result.table["estimate"]
    np.testing.assert_array_equal(names["table"]["estimate"], expected)
    assert "rollout" in capsys.readouterr().out


def test_running_job_is_told_and_canceled_between_batches(catalog, jobs):
    address = trust.start(catalog, jobs, "?model=digits-zeros", ["attention"], 20)
    job = parameter(address, "job")
    view = trust.view(catalog, jobs, address, dark=False)
    assert (view["result"], view["idle"], view["no_cancel"]) == ([], False, False)
    assert "examples" in page_text(view) or "Waiting" in page_text(view)
    jobs.cancel(job)
    state = finished(jobs, address)
    assert state.status == "canceled"
    assert state.progress.done < 20
    assert "Canceled" in page_text(trust.view(catalog, jobs, address, dark=False))


def test_work_closed_between_batches_leaves_the_model_as_it_was(catalog):
    subject = catalog.subject("digits-learned")
    before = {name: value.clone() for name, value in subject.module.state_dict().items()}
    steps = trust_work(subject, TrustRequest("digits-learned", ("attention",), 20))()
    assert [next(steps).done for _ in range(3)] == [0, 4, 8]
    steps.close()
    assert all(torch.equal(value, before[name]) for name, value in subject.module.state_dict().items())


def test_forgotten_job_is_told_and_its_question_stands_in_the_controls(catalog, address):
    view = trust.view(catalog, Jobs(), address, dark=False)
    assert view["measures"] == ["attention", "rollout"]
    assert "This result is not kept on the server any more." in page_text(view)
    assert view["idle"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?measures=rolout", "`measures`: expected one that can be compared, but got 'rolout'. Did you mean"),
        (
            "?samples=21",
            "`samples`: expected a number from 1 to 20, but got 21. The model has no more examples.",
        ),
        ("?samples=-1", "`samples`: expected a whole number from 0 on, but got '-1'."),
        ("?model=nobody", "`model`: expected one that is loaded, but got 'nobody'."),
    ],
)
def test_broken_link_is_told(catalog, jobs, query, told):
    view = trust.view(catalog, jobs, query, dark=False)
    assert told in page_text(view)
    assert view["measures"] is no_update
    assert view["idle"]


def test_start_without_measures_or_samples_is_refused(catalog, jobs):
    with pytest.raises(AppError, match=r"expected at least one measure, but got none\. Choose one above\."):
        trust.start(catalog, jobs, "", [], 5)
    with pytest.raises(AppError, match=r"expected a number from 1 to 20, but got 0\."):
        trust.start(catalog, jobs, "", ["attention"], "")


def test_csv_is_served_for_a_finished_job_alone(sample_paths, jobs, address):
    client = create_app(sample_paths[:2], jobs=jobs).server.test_client()
    job = parameter(address, "job")
    answer = client.get(f"/trust/{job}.csv")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="faithfulness-{job}.csv"'
    assert answer.text.startswith("measure,label,metric,better,estimate,low,high,")
    assert len(answer.text.splitlines()) == 1 + 3 * len(METRIC_NAMES)
    assert client.get("/trust/0000.csv").status_code == 404


def test_model_of_words_with_hostile_names_is_compared_too(tmp_path, jobs):
    catalog = Catalog([save_hostile_model(tmp_path)])
    address = trust.start(catalog, jobs, "", ["attention"], 3)
    assert finished(jobs, address).status == "done"
    assert f"subject = clsight.load({str(tmp_path / NAME)!r})" in python_of(
        catalog.subject(NAME), TrustRequest(NAME, ("attention",), 3)
    )
    assert "a random ranking" in page_text(trust.view(catalog, jobs, address, dark=False))
