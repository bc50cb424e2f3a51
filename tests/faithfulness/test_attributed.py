"""What comes in as an attribution is checked, and ranked in an order that is the same everywhere."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import clsight
import reference_faithfulness as by_hand
from clsight.faithfulness import pointing_game
from clsight.faithfulness.attributed import counts_at, places_of, random_scores

number = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e6, 1e6), st.just(float("inf")))


@given(rows=st.lists(st.tuples(number, st.booleans()), min_size=1, max_size=15))
def test_places_are_those_of_a_sorted_list(rows):
    scores, removable = map(list, zip(*rows, strict=True))
    places = places_of(np.array([scores]), np.array([removable]))[0]
    for place, position in enumerate(by_hand.ranked(scores, removable), start=1):
        assert places[position] == place
    np.testing.assert_array_equal(np.isnan(places), ~np.array(removable))


@given(steps=st.integers(1, 30), tokens=st.integers(0, 200))
def test_counts_are_rounded_up(steps, tokens):
    counts = counts_at(steps, np.ones((1, tokens), dtype=bool))
    assert counts[0].tolist() == [by_hand.count_at(step, steps, tokens) for step in range(steps + 1)]


def test_random_scores_of_a_sample_are_the_same_in_any_batch():
    removable = np.random.default_rng(0).random((5, 9)) > 0.3
    whole = random_scores(removable, 7)
    parts = [random_scores(removable[start : start + 2], 7, first_sample=start) for start in (0, 2, 4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(np.isnan(whole), ~removable)
    assert not np.array_equal(whole, random_scores(removable, 8), equal_nan=True)


def test_every_order_of_random_scores_is_as_likely():
    places = np.concatenate(
        [places_of(random_scores(np.ones((1, 3), bool), seed), np.ones((1, 3), bool)) for seed in range(3000)]
    )
    orders, counts = np.unique(places, axis=0, return_counts=True)
    assert len(orders) == 6
    assert abs(counts - 500).max() < 4 * np.sqrt(3000 * 5 / 36)


@pytest.mark.parametrize(
    ("kinds", "got"), [([["cls", "noun", "word"]], "'noun'"), ([["cls", "word"]], "shape (1, 2)")]
)
def test_kinds_that_are_none_are_refused(kinds, got):
    scores = xr.DataArray([[0, 1.0, 2]], dims=("sample", "token"))
    with pytest.raises(clsight.RecordError) as refusal:
        pointing_game(scores, scores > 1, token_kind=kinds)
    assert str(refusal.value) == (
        "`pointing_game`: expected `token_kind` of shape (sample=1, token=3), of cls, register, "
        "distillation, "
        f"special, word, patch, step, pad, but got {got}. State the kind of every token that the encoder "
        "sees, "
        "[CLS] included."
    )


def test_tokens_of_unknown_kind_are_refused():
    scores = xr.DataArray([[0, 1.0, 2]], dims=("sample", "token"))
    with pytest.raises(clsight.RecordError) as refusal:
        pointing_game(scores, scores > 1)
    assert str(refusal.value) == (
        "`pointing_game`: expected tokens of known kind, so that special tokens are left out, but got an "
        "attribution without the coordinate `token_kind`. Use a measure of a record, which has it, or pass "
        "token_kind=."
    )


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (np.zeros((1, 3)), "a ndarray"),
        (
            xr.DataArray(np.zeros((1, 2, 3)), dims=("sample", "head", "token")),
            "dims (sample, head, token) of float64",
        ),
        (xr.DataArray([["a", "b"]], dims=("sample", "token")), "dims (sample, token) of <U1"),
    ],
)
def test_what_is_no_attribution_is_refused(given, got):
    with pytest.raises(clsight.RecordError) as refusal:
        pointing_game(given, given)
    assert str(refusal.value) == (
        "`pointing_game`: expected `attribution` as an xarray.DataArray of numbers with the dims (sample, "
        "token), "
        f'but got {got}. Choose a layer and average over heads first: measure.isel(layer=-1).mean("head").'
    )
