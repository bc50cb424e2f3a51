"""Examples that are made in code: always the same, and of the size that is asked for."""

import numpy as np

from clsight.loading.default_examples import pictures, sentences, series


def test_sentences_differ_in_length():
    made = sentences().inputs
    assert len({len(sentence) for sentence in made}) == len(made) >= 4


def test_pictures_have_the_size_and_differ():
    made = pictures(6, 9).inputs
    assert made.shape[1:] == (6, 9, 3)
    assert made.dtype == np.uint8
    assert len({picture.tobytes() for picture in made}) == len(made)
    np.testing.assert_array_equal(made, pictures(6, 9).inputs)


def test_series_have_the_size_and_differ():
    made = series(7, 2).inputs
    assert made.shape[1:] == (7, 2)
    assert made.dtype == np.float32
    assert len({one.tobytes() for one in made}) == len(made)
    np.testing.assert_array_equal(made, series(7, 2).inputs)


def test_pictures_hold_a_shape_on_a_gradient():
    """Along the gradient's even axis, all pixels outside the shape are alike."""
    for number, picture in enumerate(pictures(40, 50).inputs):
        lines = picture if number % 2 else picture.swapaxes(0, 1)
        assert all((lines[edge] == lines[edge][0]).all() for edge in (0, -1))
        assert any((line != line[0]).any() for line in lines)
