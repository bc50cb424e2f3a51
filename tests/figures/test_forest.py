import numpy as np
import pandas as pd
import pytest

from clsight.errors import FigureError
from clsight.figures import interval_forest

NAN = float("nan")
ROWS = pd.DataFrame(
    {
        "label": ["zeros − learned", "<b>bold</b> − $x$", "third " * 12],
        "estimate": [-0.6, 0.0, 0.01],
        "low": [-0.65, NAN, -0.03],
        "high": [-0.5, NAN, 0.04],
        "reading": ["lower", "equivalent", "unclear"],
        "margin": [NAN, 0.01, NAN],
    }
)


def drawn():
    return interval_forest(ROWS, on_axis="difference in accuracy", title="<i>t</i>")


def test_forest_has_a_mark_and_an_interval_per_row():
    marks = {trace.name: trace for trace in drawn().data}
    assert list(marks) == ["lower", "equivalent within the margin", "inconclusive"]
    lower = marks["lower"]
    assert (list(lower.x), list(lower.y)) == ([-0.6], [0])
    np.testing.assert_allclose(lower.error_x.array, [0.1])
    np.testing.assert_allclose(lower.error_x.arrayminus, [0.05])
    assert list(marks["inconclusive"].y) == [2]
    assert len({trace.marker.symbol for trace in marks.values()}) == 3  # told apart without color too


def test_forest_without_an_interval_draws_the_mark_alone():
    (trace,) = (trace for trace in drawn().data if trace.name.startswith("equivalent"))
    assert (list(trace.error_x.array), trace.customdata[0][1]) == ([0], "")


def test_forest_draws_the_margin_around_zero():
    (box,) = (shape for shape in drawn().layout.shapes if shape.type == "rect")
    assert (box.x0, box.x1) == (-0.01, 0.01)
    assert box.y0 < 1 < box.y1


def test_forest_shows_labels_literally_and_wraps_long_ones():
    fig = drawn()
    texts = [note.text for note in fig.layout.annotations]
    assert texts[1] == "&lt;b&gt;bold&lt;/b&gt; − &#36;x&#36;"
    assert all(len(line) <= 44 for line in texts[2].split("<br>"))
    assert texts[2].replace("<br>", " ") == ("third " * 12).strip()
    assert fig.layout.title.text == "&lt;i&gt;t&lt;/i&gt;"


def test_forest_names_a_missing_column():
    with pytest.raises(FigureError) as caught:
        interval_forest(ROWS.drop(columns="margin"), on_axis="", title="")
    assert str(caught.value) == (
        "`interval_forest`: expected columns label, estimate, low, high, reading, margin, but got none "
        "called margin. Add them."
    )
