"""The figures of many samples, as the data of the figure."""

import numpy as np
import pytest
import xarray as xr

from clsight.errors import FigureError
from clsight.figures import head_scatter, place_profile, query_key_scatter, sample_spread
from clsight.statistics import bootstrap

VALUES = xr.DataArray(
    np.random.default_rng(4).uniform(size=(7, 3, 4)),
    dims=("sample", "layer", "head"),
    coords={"layer": [0, 1, 2], "head": [0, 1, 2, 3]},
)
X = bootstrap(VALUES, "sample", resamples=200).assign_attrs(title="<b>x</b>")
Y = bootstrap(VALUES**2, "sample", resamples=200).assign_attrs(title="square")


def test_heads_are_points_of_their_layer_with_their_intervals():
    fig = head_scatter(X, Y, selected=(2, 1))
    assert [trace.name for trace in fig.data] == ["layer 0", "layer 1", "layer 2", "ring"]
    second = fig.data[1]
    np.testing.assert_allclose(second.x, VALUES.mean("sample").values[1])
    np.testing.assert_allclose(second.y, (VALUES**2).mean("sample").values[1])
    np.testing.assert_allclose(second.x + second.error_x.array, X["high"].values[1])
    np.testing.assert_allclose(second.y - second.error_y.arrayminus, Y["low"].values[1])
    assert [list(point) for point in second.customdata] == [[1, 0], [1, 1], [1, 2], [1, 3]]
    assert (fig.data[3].x[0], fig.data[3].y[0]) == (fig.data[2].x[1], fig.data[2].y[1])
    assert fig.layout.xaxis.title.text == "&lt;b&gt;x&lt;/b&gt;"


def test_scatter_refuses_a_head_that_is_not_there_and_other_dims():
    with pytest.raises(FigureError, match=r"expected a head of the record, but got \(3, 0\)"):
        head_scatter(X, Y, selected=(3, 0))
    with pytest.raises(FigureError, match=r"`head_scatter y`: expected dims head, layer, but got \(layer\)"):
        head_scatter(X, Y.isel(head=0))


def test_spread_has_a_box_for_each_group_in_the_order_they_come():
    fig = sample_spread(VALUES[:, 0, 0], ["b", "<i>", "b", "b", "<i>", "b", "b"], title="nats")
    assert [box.name for box in fig.data] == ["b", "&lt;i&gt;"]
    np.testing.assert_allclose(fig.data[1].y, VALUES.values[[1, 4], 0, 0])
    with pytest.raises(FigureError, match="expected dims sample"):
        sample_spread(VALUES, ["a"] * 7)


def test_profile_is_a_line_over_its_band():
    profile = xr.Dataset(
        {
            name: ("distance", values)
            for name, values in zip(("mean", "low", "high"), ([2, 3], [1, 2], [4, 5]), strict=True)
        },
        coords={"distance": [-1, 0]},
    )
    band, line = place_profile(profile, title="distance").data
    assert list(line.x) == [-1, 0]
    assert list(line.y) == [2, 3]
    assert list(band.y) == [4, 5, 2, 1]
    with pytest.raises(FigureError, match="expected dims distance"):
        place_profile(profile.expand_dims("layer"))


def test_queries_stand_above_keys():
    points = xr.Dataset(
        {"x": ("point", [1.0, 2.0, 3.0]), "y": ("point", [4.0, 5.0, 6.0])},
        coords={
            "kind": ("point", np.array(["query", "key", "key"], dtype=np.dtypes.StringDType())),
            "sample": ("point", [0, 0, 1]),
            "token": ("point", [0, 0, 2]),
        },
        attrs={"explained": [0.5, 0.25]},
    )
    keys, queries = query_key_scatter(points, dark=True).data
    assert (list(keys.x), list(queries.y)) == ([2.0, 3.0], [4.0])
    assert list(keys.text) == ["sample 0, token 0", "sample 1, token 2"]
    assert "50 % of the variance" in query_key_scatter(points).layout.xaxis.title.text
