"""What a view is saved as: the numbers of the grid, the record, one HTML file, Python; errors in words."""

import io
import re

import numpy as np
import pandas as pd
import pytest

import clsight
from clsight.analysis import MEASURES
from clsight_app import create_app
from hostile_model import NAME, save_hostile_model

VIEW = "?model=digits-learned&sample=3&layer=1&head=2"


@pytest.fixture(scope="module")
def client(sample_paths, tmp_path_factory):
    """Return a client of the app over the sample models and a hostile one."""
    hostile = save_hostile_model(tmp_path_factory.mktemp("models"))
    return create_app([*sample_paths, hostile]).server.test_client()


def test_csv_holds_each_weight_with_its_labels(client, catalog):
    table = pd.read_csv(io.BytesIO(client.get(f"/export/values.csv{VIEW}").data))
    record = catalog.record("digits-learned", 3)
    assert len(table) == record["attends_to"].size
    line = table.query("layer == 1 and head == 2 and token == 5").iloc[0]
    assert line["attends_to"] == pytest.approx(float(record["attends_to"].values[0, 1, 2, 5]))
    assert line["token_text"] == "patch 1,0"


def test_csv_of_a_measure_holds_its_values(client, catalog):
    table = pd.read_csv(io.BytesIO(client.get(f"/export/values.csv{VIEW}&measure=entropy").data))
    values = MEASURES["entropy"].function(catalog.record("digits-learned", 3)).values
    np.testing.assert_allclose(table["entropy"], values.ravel())


def test_record_opens_again(client, catalog, tmp_path):
    answer = client.get(f"/export/record.zarr.zip{VIEW}&measure=received")
    (tmp_path / "a.zarr.zip").write_bytes(answer.data)
    record = clsight.open_record(tmp_path / "a.zarr.zip")
    np.testing.assert_array_equal(record["attends_to"], catalog.record("digits-learned", 3)["attends_to"])
    assert "received" in record


def test_html_is_one_file_that_asks_no_other_host(client):
    page = client.get(f"/export/view.html{VIEW}").text
    assert page.count('class="plotly-graph-div"') == 3
    assert re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="?https?:', page) == []
    assert "<title>digits-learned: layer 1, head 2</title>" in page


def test_html_shows_hostile_names_literally(client):
    page = client.get("/export/view.html", query_string={"model": NAME}).text
    assert "<img src=x" not in page
    assert "<b>bold</b>" not in page.replace("<b>0", "")


def test_python_is_the_code_of_the_view(client):
    answer = client.get(f"/export/view.py{VIEW}")
    assert "attachment; filename=view.py" in answer.headers["Content-Disposition"]
    assert "shown = subject.examples[3]" in answer.text


@pytest.mark.parametrize(
    ("address", "status", "told"),
    [
        ("/export/values.csv?sample=20", 400, "expected a number from 0 to 19, but got 20"),
        ("/export/values.csv?measure=none", 400, "`measure`: expected one that exists"),
        ("/export/passwd", 404, "The exports are values.csv, record.zarr.zip, view.html, view.py."),
    ],
)
def test_broken_link_is_told_in_words(client, address, status, told):
    answer = client.get(address)
    assert answer.status_code == status
    assert told in answer.text
    assert answer.mimetype == "text/plain"
