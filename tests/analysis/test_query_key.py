"""Query times key against loops, the scale that real models use, and a score that has more in it."""

import math

import numpy as np
import pytest

import clsight
from clsight.analysis.query_key import log_weights, query_times_key, score_scale
from clsight.errors import RecordError
from hand_made import word_record


@pytest.fixture(scope="module")
def record():
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    return clsight.capture(subject, subject.examples[:2], keep=["keys_values"])


def test_products_are_those_of_a_loop(record):
    products = query_times_key(record).values
    query, keys = record["query"].values, record["keys"].values
    for at in np.ndindex(products.shape):
        sample, layer, head, token, dim = at
        expected = float(query[sample, layer, head, dim]) * float(keys[sample, layer, head, token, dim])
        assert products[at] == pytest.approx(expected, rel=1e-12)


def test_scale_of_a_plain_encoder_is_one_over_the_root_of_its_head(record):
    found = score_scale(record)
    np.testing.assert_allclose(found["scale"], 1 / math.sqrt(record.sizes["head_dim"]), rtol=1e-3)
    assert float(found["misfit"].max()) < 1e-3  # float32 weights, some of them small


def test_a_bias_on_the_scores_is_a_misfit(record):
    biased = record.copy()
    raised = record["attends_to"] * np.exp(np.arange(record.sizes["token"]) % 3).astype(np.float32)
    biased["attends_to"] = raised / raised.sum("token")
    assert float(score_scale(biased)["misfit"].min()) > 0.3


def test_logarithms_differ_as_the_scores_do(record):
    dots = query_times_key(record).sum("head_dim") / math.sqrt(record.sizes["head_dim"])
    logs = log_weights(record)
    np.testing.assert_allclose(logs - logs.isel(token=0), dots - dots.isel(token=0), atol=2e-3)
    assert float(logs.max()) <= 0


def test_padding_has_no_score():
    padded = word_record().record
    logs = log_weights(padded)
    assert bool(logs.isel(sample=0, token=[7, 8]).isnull().all())
    assert bool(logs.isel(sample=0, token=slice(0, 7)).notnull().all())


def test_record_without_keys_says_how_to_keep_them():
    with pytest.raises(
        RecordError, match=r"expected a record with `keys`, but got one without it\..*keys_values"
    ):
        query_times_key(word_record().record)


def test_two_tokens_leave_the_scale_open(record):
    two = record.isel(token=[0, 1])
    assert bool(score_scale(two)["scale"].isnull().all())
