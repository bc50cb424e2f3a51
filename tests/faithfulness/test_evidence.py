"""Pointing game and average precision against loops, scikit-learn, and what chance gives."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import clsight
import reference_faithfulness as by_hand
from clsight.faithfulness import auprc, pointing_game

Text = np.dtypes.StringDType()
METRICS = {"pointing_game": pointing_game, "auprc": auprc}
DIMS = ("sample", "token")


def scores_of(values, kinds=None):
    values = np.array(values, dtype=float)
    given = np.full(values.shape, "word", dtype=Text) if kinds is None else np.array(kinds, dtype=Text)
    return xr.DataArray(values, dims=DIMS, coords={"token_kind": (DIMS, given)})


def marks_of(values):
    return xr.DataArray(np.array(values, dtype=bool), dims=DIMS)


tokens = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12)


@given(pairs=tokens)
def test_scores_are_those_of_loops_and_of_scikit_learn(pairs):
    scores, marked = zip(*pairs, strict=True)
    if len(set(scores)) == 1 or len(set(marked)) == 1:
        return
    given_scores, evidence = scores_of([scores]), marks_of([marked])
    precision = float(auprc(given_scores, evidence)[0])
    np.testing.assert_allclose(precision, by_hand.average_precision(scores, marked), rtol=1e-12)
    np.testing.assert_allclose(precision, average_precision_score(marked, scores), rtol=1e-12)
    pointed = float(pointing_game(given_scores, evidence)[0])
    np.testing.assert_allclose(pointed, by_hand.pointed(scores, marked), rtol=1e-15)


def test_the_evidence_itself_scores_one_and_its_opposite_least():
    evidence = marks_of([[False, True, True, False, False]])
    right, wrong = scores_of(evidence), scores_of(~evidence)
    assert [float(metric(right, evidence)[0]) for metric in METRICS.values()] == [1.0, 1.0]
    assert float(pointing_game(wrong, evidence)[0]) == 0.0
    assert float(auprc(wrong, evidence)[0]) == pytest.approx(2 / 5)


def test_a_random_ranking_scores_as_chance_says():
    generator = np.random.default_rng(0)
    evidence = marks_of(np.tile([True, True, False, False, False, False], (4000, 1)))
    scores = scores_of(generator.random((4000, 6)))
    pointed, precision = pointing_game(scores, evidence), auprc(scores, evidence)
    assert float(pointed.mean()) == pytest.approx(2 / 6, abs=4 * np.sqrt(2 / 9 / 4000))
    # 2 of 6 at ranks i < j, all 15 pairs alike: the mean of ½ (1/i + 2/j)
    chance = np.mean([(1 / i + 2 / j) / 2 for j in range(1, 7) for i in range(1, j)])
    assert float(precision.mean()) == pytest.approx(chance, abs=4 * float(precision.std()) / np.sqrt(4000))


def test_only_words_patches_and_steps_count():
    kinds = [["cls", "special", "word", "register", "patch", "step", "distillation", "pad"]]
    scores = scores_of([[9, 8, 2, 7, 3, 1, 6, np.nan]], kinds)
    evidence = marks_of([[True, True, False, True, True, False, True, True]])
    assert float(pointing_game(scores, evidence)[0]) == 1.0
    assert float(auprc(scores, evidence)[0]) == 1.0
    assert float(pointing_game(-scores, evidence)[0]) == 0.0


def test_kinds_may_be_stated():
    scores = scores_of([[9, 1, 2]]).drop_vars("token_kind")
    evidence = marks_of([[False, False, True]])
    assert float(pointing_game(scores, evidence, token_kind=[["cls", "word", "word"]])[0]) == 1.0
    assert float(pointing_game(scores, evidence, token_kind=[["word"] * 3])[0]) == 0.0


def test_dims_may_come_in_another_order():
    scores, evidence = scores_of([[1, 2, 3], [6, 5, 4]]), marks_of([[1, 0, 0], [1, 0, 0]])
    for metric in METRICS.values():
        np.testing.assert_array_equal(metric(scores.T, evidence.T), metric(scores, evidence))


@pytest.mark.parametrize("name", METRICS)
def test_what_is_undefined_is_nan_with_its_reason(name):
    kinds = [["word"] * 3] * 4 + [["word", "pad", "pad"], ["cls", "pad", "pad"]]
    scores = scores_of([[1, 2, 3], [1, 2, 3], [4, 4, 4], [1, np.nan, 2], [1, 2, 3], [1, 2, 3]], kinds)
    evidence = marks_of([[1, 1, 1], [0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    result = METRICS[name](scores, evidence)
    assert np.isnan(result).all()
    assert result.name == name
    assert result.reason.values.tolist() == [
        "all 3 tokens are evidence: every ranking finds it",
        "no token that may be removed is evidence",
        "the attribution is the same at all 3 tokens: it ranks nothing",
        "the attribution is NaN at 1 of 3 tokens",
        "1 token may be removed: nothing to rank",
        "no tokens may be removed: nothing to rank",
    ]


@pytest.mark.parametrize("name", METRICS)
def test_evidence_that_does_not_fit_is_refused(name):
    with pytest.raises(clsight.RecordError) as refusal:
        METRICS[name](scores_of([[1, 2, 3]]), marks_of([[1, 0]]))
    assert str(refusal.value) == (
        f"`{name}`: expected `evidence` as True and False of sample=1, token=3, but got bool of sample=1, "
        "token=2. Mark every token of the sequence that the encoder sees, [CLS] as False."
    )


def test_evidence_in_grades_is_refused():
    with pytest.raises(clsight.RecordError) as refusal:
        auprc(scores_of([[1, 2]]), xr.DataArray([[0.5, 1.0]], dims=DIMS))
    assert "expected `evidence` as True and False" in str(refusal.value)
