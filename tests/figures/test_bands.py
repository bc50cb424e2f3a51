import numpy as np
import pytest
import xarray as xr

from clsight.errors import FigureError
from clsight.figures import mean_curves


def means(steps, arms=("learned", "<zeros>")):
    estimate = np.arange(len(arms) * len(steps), dtype=float).reshape(len(arms), len(steps))
    low = estimate - 0.5
    low[0, -1] = np.nan
    names = ("estimate", "low", "high")
    arrays = zip(names, (estimate, low, estimate + 0.25), strict=True)
    return xr.Dataset(
        {name: (("arm", "step"), values) for name, values in arrays},
        coords={"arm": list(arms), "step": list(steps)},
    )


def test_curves_have_a_line_per_arm_and_a_band_where_there_is_an_interval():
    fig = mean_curves(means([0, 1, 4, 9]), "step", on_axis="step", title="t")
    bands, lines = fig.data[::2], fig.data[1::2]
    assert [line.name for line in lines] == ["learned", "&lt;zeros&gt;"]
    np.testing.assert_array_equal(lines[1].y, [4, 5, 6, 7])
    np.testing.assert_array_equal(lines[1].x, [0, 1, 4, 9])
    assert list(bands[0].x) == [0, 1, 4, 4, 1, 0]  # the last step has no interval
    assert list(bands[0].y) == [0.25, 1.25, 2.25, 1.5, 0.5, -0.5]


def test_few_points_have_bars_and_do_not_lie_on_each_other():
    fig = mean_curves(means([0, 1, 2]), "step", on_axis="layer", title="t")
    assert len(fig.data) == 2
    np.testing.assert_allclose(fig.data[1].error_y.arrayminus, [0.5, 0.5, 0.5])
    np.testing.assert_allclose(fig.data[0].error_y.arrayminus, [0.5, 0.5, 0])
    assert fig.data[0].x[0] < 0 < fig.data[1].x[0]
    assert list(fig.layout.xaxis.tickvals) == [0, 1, 2]


def test_an_arm_keeps_its_color_where_others_are_not_drawn():
    settings = {"on_axis": "step", "title": "t", "arms": ["learned", "zeros", "drawn"]}
    everyone = mean_curves(means([0, 1, 2, 3], ("learned", "zeros", "drawn")), "step", **settings)
    some = mean_curves(means([0, 1, 2, 3], ("learned", "drawn")), "step", **settings)
    assert some.data[-1].line.color == everyone.data[-1].line.color
    assert len({trace.line.color for trace in everyone.data[1::2]}) == 3


def test_references_are_lines_with_names():
    fig = mean_curves(means([0, 1]), "step", on_axis="", title="", references=[("even", 0.077)])
    (line,) = fig.layout.shapes
    assert (line.y0, line.y1, fig.layout.annotations[0].text) == (0.077, 0.077, "even")


def test_curves_refuse_other_dims():
    with pytest.raises(FigureError) as caught:
        mean_curves(means([0, 1]), "layer", on_axis="", title="")
    assert str(caught.value) == (
        "`mean_curves`: expected means with dims arm and layer, but got dims (arm, step). "
        "Pass clsight.statistics.bootstrap(values, over='seed')."
    )
