"""The Compare page as a function of the address."""

import json

import numpy as np

from clsight import figures
from clsight_app.catalog import Catalog
from clsight_app.pages import compare


def page_text(view):
    return json.dumps(view, default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def figure_of(view):
    """Return the figure of the side-by-side maps."""
    maps = view["comparison"][1].children
    return maps.children[1].figure


def test_maps_are_those_of_the_stacked_records(catalog):
    view = compare.view(catalog, "?sample=2&layer=1", dark=False)
    learned = catalog.record("digits-learned", 2)["attends_to"].sel(layer=1).mean("head").values[0]
    zeros = catalog.record("digits-zeros", 2)["attends_to"].sel(layer=1).mean("head").values[0]
    weights, change = (np.asarray(trace.z) for trace in figure_of(view).data)
    np.testing.assert_allclose(weights[1, :4], learned[1:5], rtol=1e-6)  # the first row of patches
    np.testing.assert_allclose(change[1, 5:9], (zeros - learned)[1:5], atol=1e-6)


def test_direction_draws_the_column(catalog):
    column = catalog.record("digits-learned", 2)["attended_by"].sel(layer=0).mean("head").values[0]
    view = compare.view(catalog, "?sample=2&direction=attended_by", dark=False)
    np.testing.assert_allclose(figure_of(view).data[0].z[1, :4], column[1:5], rtol=1e-6)
    assert "In layer 0, the other tokens give CLS" in page_text(view)


def test_reference_is_the_model_of_the_address(catalog):
    view = compare.view(catalog, "?model=digits-fixed-random", dark=False)
    text, change = page_text(view), np.asarray(figure_of(view).data[1].z)
    assert np.isnan(change[:, 10:14]).all()  # the third of four maps of four columns, a gap after each
    assert np.isfinite(change[1, :4]).all()
    assert "compared with fixed_random, CLS moves" in text
    assert "Below: the difference to fixed_random." in text


def test_every_model_has_its_line_and_every_measure_its_curve(catalog):
    text = page_text(compare.view(catalog, "", dark=True))
    assert all(name in text for name in catalog.models)
    assert all(f'"curve-{name}"' in text for name in ("entropy", "cls-self-attention", "mean-attended-by"))


def test_redrawn_cls_is_told(catalog):
    assert "draws CLS anew at each forward pass" in page_text(compare.view(catalog, "", dark=False))


def test_one_model_alone_is_told(sample_paths):
    view = compare.view(Catalog(sample_paths[:1]), "", dark=False)
    assert view["comparison"] == []
    assert "Start the app with two models or more." in page_text(view)


def test_color_scale_is_one_for_all(catalog):
    figure = figure_of(compare.view(catalog, "", dark=False))
    assert [trace.coloraxis for trace in figure.data] == ["coloraxis", "coloraxis2"]
    assert figure.layout.coloraxis.cmin == 0
    assert figures.CONFIG["showSendToCloud"] is False
