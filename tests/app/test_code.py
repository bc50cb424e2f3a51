"""A view as Python: the lines are run as a notebook would run them, and draw what the page shows."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from clsight_app.catalog import Catalog, Source
from clsight_app.code import loading_code
from clsight_app.exports import code_of
from clsight_app.navigation import located
from clsight_app.pages import inspect
from encoder_builders import randomize
from hostile_model import NAME, save_hostile_model
from text_model import text_model_path
from user_modules import HEADS, Series


def run(code, monkeypatch):
    """Run the lines of a view; return its names, and the figures that it would have shown."""
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure, **_: shown.append(figure))
    names = {}
    exec(compile(code, "view.py", "exec"), names)  # what is tested here
    assert shown == [names["grid"], names["head"]]
    return names


def check(catalog, query, monkeypatch):
    """Run the code of an address, compare its grid with the page's, and return its names."""
    selection, record = located(catalog, query)
    names = run(code_of(catalog, selection, record), monkeypatch)
    drawn = inspect.grid(catalog, query, dark=False)["grid"]
    np.testing.assert_array_equal(names["grid"].data[0].z, drawn.data[0].z)
    shapes = [[shape.x0, shape.y0] for shape in names["grid"].layout.shapes]
    assert shapes == [[shape.x0, shape.y0] for shape in drawn.layout.shapes]
    return names


@pytest.mark.parametrize(
    "query",
    [
        "?model=digits-zeros&sample=3&layer=2&head=1",
        "?model=digits-zeros&sample=3&layer=2&head=1&direction=attended_by&measure=entropy",
        "?model=digits-learned&sample=5&measure=received",
        "?model=digits-random-per-forward&sample=7&layer=1",
        "?model=digits-random-per-forward&sample=7&measure=hidden_norm",
    ],
)
def test_code_of_pictures_draws_the_same_grid_and_head(catalog, query, monkeypatch):
    names = check(catalog, query, monkeypatch)
    selection, record = located(catalog, query)
    weights = record[selection.direction].values[0, selection.layer, selection.head, 1:]
    np.testing.assert_array_equal(names["head"].data[0].z.ravel(), weights)


@pytest.mark.parametrize(
    "query", ["?sample=2&layer=4", "?text=It%27s+%22odd%22.&measure=lift", "?text=a&second=b"]
)
def test_code_of_text_draws_the_same_grid(query, monkeypatch):
    check(Catalog([text_model_path()]), query, monkeypatch)


def test_code_of_hostile_names_is_code(tmp_path, monkeypatch):
    catalog = Catalog([save_hostile_model(tmp_path)])
    assert NAME in check(catalog, "?text=5+9+2&second=b&head=1", monkeypatch)["subject"].name


def test_code_of_a_state_dict_has_its_options(tmp_path, monkeypatch):
    torch.save(randomize(Series()).state_dict(), tmp_path / "mine.pt")
    catalog = Catalog([Source.of(tmp_path / "mine.pt", {"heads": HEADS, "norm": "pre"})])
    check(catalog, "", monkeypatch)


def test_code_of_a_class_imports_it(tmp_path):
    assert loading_code(tmp_path, {"factory": Series, "heads": 3}) == (
        f"from user_modules import Series\nsubject = clsight.load({str(tmp_path)!r}, factory=Series, heads=3)"
    )


def test_code_of_a_dropped_file_says_so(catalog):
    import io

    array = io.BytesIO()
    np.save(array, catalog.examples("digits-learned").inputs[3:4])
    given = catalog.uploads.add("digit.npy", array.getvalue())
    selection, record = located(catalog, f"?given={given}")
    code = code_of(catalog, selection, record)
    assert "shown = subject.read('your file.npy')  # the file that was dropped\n" in code
    compile(code, "view.py", "exec")
