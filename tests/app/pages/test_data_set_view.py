"""The page Data set as a function of the address, with real jobs and without a browser."""

import json
import time

import numpy as np
import pytest
from dash import no_update

import clsight
from clsight.errors import AppError
from clsight_app.application import create_app
from clsight_app.catalog import Catalog
from clsight_app.dataset import PER_HEAD, DatasetView, python_of, request_of
from clsight_app.jobs import Jobs
from clsight_app.navigation import parameter
from clsight_app.pages import data_set
from clsight_app.record_files import RecordFiles
from hand_made import word_record
from hostile_model import CLASSES, NAME, save_hostile_model

SECONDS = 60


@pytest.fixture(scope="module")
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    clsight.save_record(clsight.capture(subject, subject.examples), root / "digits <b>.zarr.zip")
    clsight.save_record(word_record(samples=5).record, root / "words.zarr.zip")
    return RecordFiles([root])


def done(catalog, files, jobs, query, chosen):
    address = data_set.start(catalog, files, jobs, query, chosen)
    end = time.monotonic() + SECONDS
    while not (state := jobs.state(parameter(address, "job"))).is_over:
        assert time.monotonic() < end
        time.sleep(0.02)
    return address, state


def text_of(view):
    parts = [view["status"], view["result"]]
    return json.dumps(parts, default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def test_first_view_offers_examples_and_files_and_computes_nothing(catalog, files, jobs):
    view = data_set.view(catalog, files, jobs, "", dark=False)
    assert [one["value"] for one in view["sources"]] == [
        "examples",
        "file:digits <b>.zarr.zip",
        "file:words.zarr.zip",
    ]
    assert (view["source"], view["samples"], view["label"]) == ("examples", 20, "Samples, 1 to 20")
    assert (view["status"], view["result"], view["choices"]) == ([], [], "job-controls hidden")
    assert view["idle"]


def test_result_measures_every_sample_as_inspect_shows_it(catalog, files, jobs):
    address, state = done(catalog, files, jobs, "?model=digits-random-per-forward", ("examples", 4))
    assert address.startswith("?model=digits-random-per-forward&samples=4&job=")
    assert tuple(state.result.values) == PER_HEAD
    assert state.result.nbytes > 0
    for sample in range(4):
        own = catalog.record("digits-random-per-forward", sample)["attends_to"].values[0]
        np.testing.assert_allclose(state.result.record["attends_to"].values[sample], own, atol=1e-6)


def test_finished_view_shows_heads_examples_links_and_code(catalog, files, jobs):
    address, _ = done(catalog, files, jobs, "?model=digits-learned&layer=1&head=2", ("examples", 20))
    view = data_set.view(catalog, files, jobs, address, dark=True)
    text = text_of(view)
    assert (view["layer"], view["layers"], view["head"], view["heads"]) == (1, 2, 2, 3)
    for part in (
        "Over 20 samples, the most focused head",
        "data-set-scatter",
        "data-set-joint",
        "data-set-profile-row",
        "All heads as a table",
        f"/data-set/{parameter(address, 'job')}.csv",
    ):
        assert part in text
    assert text.count("Open in Inspect") == 6
    assert "&layer=1&head=2" in text


def test_class_shows_its_samples_alone(catalog, files, jobs):
    address, state = done(catalog, files, jobs, "?model=digits-learned", ("examples", 20))
    view = data_set.view(catalog, files, jobs, f"{address}&group=7", dark=False)
    count = int((state.result.record["label"] == 7).sum())
    assert f"Over {count} samples," in text_of(view)
    assert view["group"] == "=7"
    assert "Sample 2, class 3" not in text_of(view)


def test_record_file_of_a_loaded_model_leads_to_inspect_and_another_does_not(catalog, files, jobs):
    address, state = done(catalog, files, jobs, "", ("file:digits <b>.zarr.zip", ""))
    assert state.status == "done", state.error
    text = text_of(data_set.view(catalog, files, jobs, address, dark=False))
    assert text.count("Open in Inspect") == 6
    assert "This record has no keys of tokens" in text
    address, _ = done(catalog, files, jobs, "", ("file:words.zarr.zip", ""))
    text = text_of(data_set.view(catalog, files, jobs, address, dark=False))
    assert "Open in Inspect" not in text
    assert "data-set-profile-distance" in text


def test_changed_file_is_another_job(catalog, files, jobs):
    first, _ = done(catalog, files, jobs, "", ("file:words.zarr.zip", ""))
    other = word_record(samples=5, seed=9).record
    clsight.save_record(other, files.path("words.zarr.zip"))
    second, state = done(catalog, files, jobs, "", ("file:words.zarr.zip", ""))
    assert parameter(first, "job") != parameter(second, "job")
    np.testing.assert_array_equal(state.result.record["attends_to"], other["attends_to"])


def test_code_to_copy_gives_the_same_numbers(catalog, files, jobs, monkeypatch):
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda self, config: None)
    address, state = done(catalog, files, jobs, "?model=digits-learned", ("examples", 5))
    names = {}
    exec(python_of(catalog, files, request_of(catalog, files, address)[0], DatasetView()), names)
    np.testing.assert_allclose(
        names["y"]["estimate"], state.result.values["entropy"].mean("sample"), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?x=entropi", "`x`: expected a measure with a number per head, but got 'entropi'. Did you mean"),
        ("?samples=21", "`samples`: expected a number from 1 to 20, but got 21. There are no more."),
        ("?record=../a.zarr.zip", "`record`: expected a record file below a root, but got '../a.zarr.zip'"),
        ("?model=nobody", "`model`: expected one that is loaded, but got 'nobody'."),
    ],
)
def test_broken_link_is_told(catalog, files, jobs, query, told):
    view = data_set.view(catalog, files, jobs, query, dark=False)
    assert told in text_of(view)
    assert view["x"] is no_update
    assert view["idle"]


@pytest.mark.parametrize(
    ("part", "told"), [("layer=9", "`layer`"), ("group=nine", "`class`"), ("head=4", "`head`")]
)
def test_link_to_what_the_samples_lack_is_told(catalog, files, jobs, part, told):
    address, _ = done(catalog, files, jobs, "?model=digits-learned", ("examples", 5))
    assert told in text_of(data_set.view(catalog, files, jobs, f"{address}&{part}", dark=False))


def test_no_samples_are_refused(catalog, files, jobs):
    with pytest.raises(AppError, match=r"expected a number from 1 to 20, but got 0\."):
        data_set.start(catalog, files, jobs, "", ("examples", ""))


def test_forgotten_job_is_told(catalog, files):
    view = data_set.view(catalog, files, Jobs(), "?model=digits-learned&job=0123456789abcdef", dark=False)
    assert "This result is not kept on the server any more." in text_of(view)


def test_csv_is_served_for_a_finished_job_alone(catalog, files, jobs, sample_paths):
    address, _ = done(catalog, files, jobs, "?model=digits-learned", ("examples", 5))
    client = create_app(sample_paths[:1], jobs=jobs).server.test_client()
    answer = client.get(f"/data-set/{parameter(address, 'job')}.csv")
    assert answer.status_code == 200
    assert len(answer.text.splitlines()) == 1 + len(PER_HEAD) * 12
    assert client.get("/data-set/0000.csv").status_code == 404


def test_hostile_names_stand_in_the_view(tmp_path, files, jobs):
    catalog = Catalog([save_hostile_model(tmp_path)])
    address, _ = done(catalog, files, jobs, "", ("examples", 3))
    view = data_set.view(catalog, files, jobs, address, dark=False)
    assert {one["label"] for one in view["groups"]} == {"All", *CLASSES}
    assert parameter(address, "model") == NAME
    assert "class <b>bold</b>" in text_of(view)
