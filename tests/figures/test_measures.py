"""The grid of a measure: each value in its tile, whatever dims it has; colors around 0 where signs differ."""

import numpy as np
import pytest

from clsight import analysis
from clsight.errors import FigureError
from clsight.figures import measure_grid
from hand_made import patch_record, word_record


def tile(figure, row, column, *, size):
    """Return one tile of the figure, found by its borders on the axes."""
    trace, (height, width) = figure.data[0], size
    top, left = row * (height + 1), column * (width + 1)
    assert abs(np.mean(trace.x[left : left + width + 1]) - column) < 1e-9
    assert abs(np.mean(trace.y[top : top + height + 1]) - row) < 1e-9
    return trace.z[top : top + height, left : left + width]


def test_each_head_has_its_number():
    record = patch_record().record
    values = analysis.entropy(record)
    figure = measure_grid(record, values, sample=1)
    for layer, head in np.ndindex(3, 4):
        assert tile(figure, layer, head, size=(1, 1)).item() == np.float32(values.values[1, layer, head])
    assert figure.layout.meta == {"row": "layer", "column": "head"}
    assert figure.layout.coloraxis.cmin == 0


def test_tokens_stand_where_the_weights_have_them():
    record = patch_record().record
    values = analysis.lift(record)
    drawn = tile(measure_grid(record, values), 2, 3, size=(3, 3))
    expected = values.values[0, 2, 3]
    np.testing.assert_allclose(drawn[0], [expected[0], np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(drawn[1:], expected[1:].reshape(2, 3), rtol=1e-6)


def test_padding_is_left_out():
    record = word_record().record
    drawn = tile(measure_grid(record, analysis.lift(record)), 1, 2, size=(1, 7))
    np.testing.assert_allclose(drawn[0], analysis.lift(record).values[0, 1, 2, :7], rtol=1e-6)


def test_measure_without_heads_has_one_column():
    record = word_record().record
    values = analysis.mean_attends_to(record)
    figure = measure_grid(record, values, sample=1)
    np.testing.assert_allclose(tile(figure, 2, 0, size=(1, 8))[0], values.values[1, 2, :8], rtol=1e-6)
    assert figure.layout.meta == {"row": "layer", "column": ""}
    assert figure.layout.xaxis.title.text == ""


def test_one_number_is_one_tile():
    record = word_record().record
    values = analysis.sink_rate(record)
    assert measure_grid(record, values).data[0].z.tolist() == [[pytest.approx(values.values[0])]]


def test_both_signs_get_colors_around_zero():
    record = patch_record().record
    figure = measure_grid(record, analysis.attends_to_vs_attended_by(record))
    scale = figure.layout.coloraxis
    assert scale.cmin == -scale.cmax < 0


@pytest.mark.parametrize(("head", "middle"), [(0, 0), (3, 3)])
def test_selected_head_is_outlined(head, middle):
    record = patch_record().record
    [shape] = measure_grid(record, analysis.entropy(record), selected=(1, head)).layout.shapes
    assert ((shape.x0 + shape.x1) / 2, (shape.y0 + shape.y1) / 2) == (middle, 1)


def test_one_large_value_of_many_does_not_hide_the_others():
    record = patch_record().record
    values = analysis.lift(record).copy()
    values[:] = 1.0
    values[0, 0, 0, 0] = 100.0
    tiled = measure_grid(record.isel(sample=[0]), values.isel(sample=[0]))
    assert tiled.layout.coloraxis.cmax == 100.0  # fewer than 200 values: all of them count
    many = word_record(layers=5, heads=6, words=("[CLS]", *"abcdefgh")).record
    values = analysis.lift(many).copy()
    values[:] = 1.0
    values[0, 0, 0, 0] = 100.0
    bar = measure_grid(many, values).layout.coloraxis
    assert bar.cmax == pytest.approx(1.0)
    assert bar.colorbar.ticktext[-1] == "≥ 1"


def test_further_dim_is_told():
    record = patch_record().record
    values = analysis.entropy(record).expand_dims(strategy=["a"])
    with pytest.raises(FigureError) as told:
        measure_grid(record, values)
    assert str(told.value) == (
        "`measure_grid`: expected values with dims among sample, layer, depth, head, other_depth, token, "
        "distance, channel, but got also strategy. Average or select first: values.mean('strategy') or "
        "values.sel(strategy=...)."
    )
