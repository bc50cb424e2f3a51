import numpy as np
import pytest

import clsight
from clsight.errors import FigureError
from clsight.figures import compare_strategies
from hand_made import patch_record, word_record

NAMES = ("zeros", "learned", "fixed_random")
PATCHES = {name: patch_record(seed=seed).record for seed, name in enumerate(NAMES)}
WORDS = {name: word_record(seed=seed).record for seed, name in enumerate(NAMES)}


def weights(members, name, direction="attends_to", head=3):
    return members[name][direction].values[0, 2, head]


def tile(z, place):
    return z[:, 4 * place : 4 * place + 3]


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_comparison_shows_every_strategy_as_a_map(direction):
    fig = compare_strategies(clsight.stack(PATCHES), sample=0, layer=2, head=3, direction=direction)
    assert fig.data[0].z.shape == fig.data[1].z.shape == (3, 3 * 4 - 1)
    for place, name in enumerate(NAMES):
        shown, expected = tile(fig.data[0].z, place), weights(PATCHES, name, direction)
        assert shown[0, 0] == expected[0]
        np.testing.assert_array_equal(shown[1:], expected[1:].reshape(2, 3))
    assert fig.layout.xaxis.ticktext == NAMES


def test_comparison_shows_differences_to_the_reference_below():
    fig = compare_strategies(clsight.stack(PATCHES), sample=0, layer=2, head=3)
    assert np.isnan(tile(fig.data[1].z, 1)).all()
    for place, name in ((0, "zeros"), (2, "fixed_random")):
        expected = weights(PATCHES, name) - weights(PATCHES, "learned")
        np.testing.assert_array_equal(tile(fig.data[1].z, place)[1:], expected[1:].reshape(2, 3))
        assert tile(fig.data[1].z, place)[0, 0] == expected[0]


def test_comparison_centers_the_difference_colors_at_zero():
    fig = compare_strategies(clsight.stack(PATCHES), sample=0, layer=2, head=3, zmax=0.4)
    scale = fig.layout.coloraxis2
    assert scale.cmid == 0
    assert -scale.cmin == scale.cmax == pytest.approx(np.nanmax(np.abs(fig.data[1].z)))
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (0, 0.4)
    assert [trace.coloraxis for trace in fig.data] == ["coloraxis", "coloraxis2"]


def test_comparison_shows_words_as_a_row_per_strategy():
    fig = compare_strategies(clsight.stack(WORDS), sample=0, layer=2, head=3, reference="zeros")
    assert fig.data[0].z.shape == (3, 7)
    for row, name in enumerate(NAMES):
        np.testing.assert_array_equal(fig.data[0].z[row], weights(WORDS, name)[:7])
    assert np.isnan(fig.data[1].z[0]).all()
    np.testing.assert_array_equal(fig.data[1].z[1], (weights(WORDS, "learned") - weights(WORDS, "zeros"))[:7])
    assert fig.layout.yaxis.ticktext == NAMES
    assert fig.layout.xaxis2.ticktext[2:4] == ("&lt;s&gt;", "river &amp; sea")


def test_comparison_without_a_head_averages_over_heads():
    fig = compare_strategies(clsight.stack(WORDS), sample=1, layer=0)
    expected = WORDS["zeros"]["attends_to"].values[1, 0].mean(axis=0)[:8]
    np.testing.assert_allclose(fig.data[0].z[0], expected, rtol=1e-6)


def test_comparison_marks_the_reference():
    fig = compare_strategies(clsight.stack(PATCHES), sample=0, layer=2)
    (note,) = fig.layout.annotations
    assert (note.text, note.x, note.xref) == ("reference", 1, "x2")


def test_comparison_needs_a_stack():
    with pytest.raises(FigureError, match=r"`compare_strategies`: expected records stacked along `strategy`"):
        compare_strategies(PATCHES["zeros"], sample=0, layer=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "learnt"}, "got 'learnt'. Did you mean `learned`"),
        ({"layer": 7}, "a `layer` of the record: 0 to 2, but got 7"),
        ({"head": 7}, "a `head` of the record: 0 to 3, but got 7"),
        ({"sample": 7}, "a `sample` of the record: 0, 1, but got 7"),
    ],
)
def test_comparison_says_what_is_wrong(arguments, message):
    with pytest.raises(FigureError, match=message):
        compare_strategies(clsight.stack(PATCHES), **{"sample": 0, "layer": 1, **arguments})
