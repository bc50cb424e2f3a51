import numpy as np
import pytest

import clsight
from clsight.analysis import entropy
from clsight.errors import FigureError
from clsight.figures import layer_curve
from hand_made import word_record

VALUES = entropy(word_record().record).sel(sample=1)


def test_curve_draws_a_line_per_head_and_their_mean_last():
    fig = layer_curve(VALUES)
    assert [trace.name for trace in fig.data] == ["head 0", "head 1", "head 2", "head 3", "mean of 4 heads"]
    for head in range(4):
        np.testing.assert_array_equal(fig.data[head].y, VALUES.values[:, head])
    np.testing.assert_allclose(fig.data[-1].y, VALUES.values.mean(axis=1))
    np.testing.assert_array_equal(fig.data[-1].x, [0, 1, 2])
    assert fig.data[-1].line.width > fig.data[0].line.width


def test_curve_draws_the_selected_head_bold():
    last = layer_curve(VALUES, selected=2).data[-1]
    assert last.name == "head 2"
    np.testing.assert_array_equal(last.y, VALUES.values[:, 2])


def test_curve_draws_a_line_per_strategy():
    members = {"learned": word_record(seed=1).record, "<zeros>": word_record(seed=2).record}
    values = entropy(clsight.stack(members)).sel(sample=0)
    fig = layer_curve(values)
    assert [trace.name for trace in fig.data] == ["learned", "&lt;zeros&gt;"]
    np.testing.assert_allclose(fig.data[1].y, values.values[1].mean(axis=1))


def test_curve_of_plain_layer_values_is_one_line():
    fig = layer_curve(VALUES.mean("head", keep_attrs=True))
    assert len(fig.data) == 1


def test_curve_names_the_measure_and_its_unit():
    fig = layer_curve(VALUES)
    assert fig.layout.yaxis.title.text == "entropy (nats)"
    assert fig.layout.xaxis.title.text == "layer"
    assert fig.layout.title.text == "Entropy"


def test_curve_refuses_values_without_layers():
    with pytest.raises(FigureError, match=r"`layer_curve`: expected values with a `layer` dimension"):
        layer_curve(VALUES.sel(layer=1))


def test_curve_asks_to_average_over_samples_first():
    with pytest.raises(FigureError, match=r"got also sample. Average or select first: values.mean\('sample'"):
        layer_curve(entropy(word_record().record))


def test_curve_names_the_heads():
    with pytest.raises(FigureError, match=r"a `head` of the record: 0 to 3, but got 4"):
        layer_curve(VALUES, selected=4)
