"""Inside a head: each vector in its row, products that sum to the score, scores without padding."""

import numpy as np
import pytest

import clsight
from clsight.errors import FigureError
from clsight.figures import head_vectors, key_products, token_scores
from hand_made import word_record


@pytest.fixture(scope="module")
def record():
    subject = clsight.load(clsight.sample_models_dir() / "digits-zeros")
    return clsight.capture(subject, subject.examples[:3], keep=["keys_values"])


def test_vectors_are_those_of_the_head(record):
    drawn = head_vectors(record, sample=2, layer=1, head=3).data[0]
    assert list(drawn.y) == ["query", "key", "value"]
    for row, name in zip(drawn.z, drawn.y, strict=True):
        np.testing.assert_array_equal(row, record[name].values[2, 1, 3])
    assert drawn.zmin == -drawn.zmax == -np.abs(drawn.z).max()


def test_products_are_query_times_the_key_of_the_token(record):
    figure = key_products(record, sample=2, layer=1, head=3, token=5)
    expected = record["query"].values[2, 1, 3] * record["keys"].values[2, 1, 3, 5]
    np.testing.assert_allclose(figure.data[0].y, expected, rtol=1e-6)
    assert figure.layout.title.text == f"[CLS] × patch 1,0: sum {expected.sum():.3g}"


def test_scores_differ_as_logarithms_of_weights():
    words = word_record().record
    drawn = token_scores(words, sample=0, layer=2, head=1).data[0]
    weights = words["attends_to"].values[0, 2, 1, :7].astype(np.float64)
    np.testing.assert_allclose(drawn.y, np.log(weights / weights.max()), rtol=1e-6)
    assert drawn.text[2] == "&lt;s&gt;"


@pytest.mark.parametrize("draw", [head_vectors, token_scores])
def test_head_that_is_not_there_is_told(record, draw):
    with pytest.raises(FigureError, match="expected a `head` of the record: 0 to 3, but got 4"):
        draw(record, sample=0, layer=0, head=4)


def test_token_that_is_not_there_is_told(record):
    with pytest.raises(FigureError, match="expected a `token` of the record: 0 to 16, but got 17"):
        key_products(record, sample=0, layer=0, head=0, token=17)
