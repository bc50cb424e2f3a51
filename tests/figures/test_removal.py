"""The curves of removal, as the data of the figure."""

import numpy as np
import pytest
import xarray as xr

from clsight.errors import FigureError
from clsight.figures import faithfulness_curves
from clsight.statistics import bootstrap

RANDOM = np.random.default_rng(4)
CURVES = xr.DataArray(
    RANDOM.uniform(size=(3, 5, 4)),
    dims=("measure", "sample", "fraction"),
    coords={
        "measure": ["mine", "attention", "random"],
        "fraction": [0.0, 0.25, 0.5, 1.0],
        "label": ("measure", ["<b>mine</b>", "raw attention", "a random ranking"]),
    },
)
MEANS = bootstrap(CURVES, "sample", skipna=True)


def test_each_measure_is_a_line_of_means_over_a_band_of_its_interval():
    fig = faithfulness_curves(MEANS, "deletion")
    assert len(fig.data) == 6
    for place in range(3):
        band, line = fig.data[2 * place], fig.data[2 * place + 1]
        np.testing.assert_allclose(line.x, [0, 0.25, 0.5, 1])
        np.testing.assert_allclose(line.y, CURVES.values[place].mean(axis=0))
        np.testing.assert_allclose(band.y[:4], MEANS["high"].values[place])
        np.testing.assert_allclose(band.y[4:], MEANS["low"].values[place][::-1])
        assert band.fillcolor == line.line.color
        assert not band.showlegend


def test_names_appear_literally_and_the_random_ranking_is_dashed():
    lines = faithfulness_curves(MEANS, "insertion", dark=True).data[1::2]
    assert [line.name for line in lines] == ["&lt;b&gt;mine&lt;/b&gt;", "raw attention", "a random ranking"]
    assert [line.line.dash for line in lines] == ["solid", "solid", "dash"]
    assert len({line.line.color for line in lines}) == 3


def test_axes_say_what_happens():
    deletion, insertion = (faithfulness_curves(MEANS, curve).layout for curve in ("deletion", "insertion"))
    assert deletion.xaxis.title.text == "share of tokens removed"
    assert insertion.xaxis.title.text == "share of tokens put back"
    assert deletion.yaxis.title.text == "probability of the answer"
    assert faithfulness_curves(MEANS, "deletion", title="Mine").layout.title.text == "Mine"


def test_figure_refuses_what_is_no_mean_of_curves():
    with pytest.raises(FigureError) as refusal:
        faithfulness_curves(MEANS.isel(fraction=0), "deletion")
    assert str(refusal.value) == (
        "`faithfulness_curves`: expected means of curves with dims measure, fraction and the coordinate "
        "`label`, but got dims (measure). Pass clsight.statistics.bootstrap(scores[curve], 'sample', "
        "skipna=True)."
    )
    with pytest.raises(FigureError, match="a `curve` of the record: deletion, insertion, but got 'removed'"):
        faithfulness_curves(MEANS, "removed")
