"""Tables and sentences from scores that are made up."""

import numpy as np
import pytest
import xarray as xr

import clsight
from clsight.faithfulness import summarize

Text = np.dtypes.StringDType()


def made_up(values, *, metric="deletion_area", reasons=None, removal="mask", **attrs):
    """Scores [measure, sample] of the measures a, b, … and, at the end, a random ranking."""
    values = np.asarray(values, dtype=float)
    names = [*"abc"[: len(values) - 1], "random"]
    labels = [*(f"measure {name}" for name in names[:-1]), "a random ranking"]
    told = np.full((len(values), 1, values.shape[1]), "", dtype=Text) if reasons is None else reasons
    dims = ("measure", "metric", "sample")
    return xr.Dataset(
        {"score": (dims, values[:, None]), "reason": (dims, told)},
        coords={
            "measure": np.array(names, dtype=Text),
            "metric": np.array([metric], dtype=Text),
            "label": ("measure", np.array(labels, dtype=Text)),
        },
        attrs={"removal": removal, **attrs},
    )


def test_sentence_puts_the_best_first_and_names_what_is_not_told_apart():
    random = np.linspace(0.3, 0.5, 12)
    table = summarize(
        made_up([random - 0.2 + np.tile([0.01, -0.01], 6), random + np.tile([0.1, -0.1], 6), random])
    )
    row = table.sel(metric="deletion_area")

    def told(name):
        low, high = (float(row[end].sel(measure=name)) for end in ("low", "high"))
        return f"({low:.3g} to {high:.3g})"

    assert table.sentence.item() == (
        "For this model, deletion area (lower is better; 12 samples, tokens hidden by the mask): measure a "
        "scores "
        f"0.2 {told('a')}, measure b scores 0.4 {told('b')}, a random ranking scores 0.4 {told('random')}. "
        "Not told "
        "apart from a random ranking at 95 % confidence: measure b."
    )


def test_sentence_knows_which_way_is_better_and_what_removes_nothing():
    values = [[0.1, 0.2, 0.3], [0.8, 0.9, 1.0], [0.4, 0.5, 0.7]]
    sentence = summarize(made_up(values, metric="auprc"), confidence=0.8).sentence.item()
    assert sentence.startswith("For this model, AUPRC (higher is better; 3 samples): measure b scores 0.9 (")
    assert sentence.index("measure b") < sentence.index("a random") < sentence.index("measure a")
    assert " 80 % confidence" in sentence or "Not told apart" not in sentence


@pytest.mark.parametrize(
    ("removal", "baseline", "words"),
    [
        ("deletion", None, "3 samples, tokens cut out"),
        ("baseline", "zero", "3 samples, tokens replaced by the baseline zero"),
        ("baseline", 103, "3 samples, tokens replaced by the baseline 103"),
    ],
)
def test_sentence_says_how_tokens_were_removed(removal, baseline, words):
    scores = made_up([[0.1, 0.2, 0.3], [0.4, 0.5, 0.7]], removal=removal, baseline=baseline)
    assert f"({'lower'} is better; {words})" in summarize(scores).sentence.item()


def test_a_measure_without_a_score_is_told_with_its_reason():
    reasons = np.array([[["why", "why", "other"]], [["", "", ""]]], dtype=Text)
    table = summarize(made_up([[np.nan] * 3, [0.4, 0.5, 0.7]], reasons=reasons))
    cell = table.sel(measure="a", metric="deletion_area")
    assert np.isnan(cell.estimate)
    assert cell.reason.item() == "2 of 3 samples: why; 1 of 3 samples: other"
    sentence = table.sentence.item()
    assert sentence.endswith("measure a none (2 of 3 samples: why; 1 of 3 samples: other).")
    assert "Not told apart" not in sentence


def test_one_sample_has_no_interval_and_the_reason_of_the_bootstrap():
    table = summarize(made_up([[0.1], [0.4]]))
    assert np.isnan(table.low).all()
    assert table.reason.values[0, 0] != ""
    assert "measure a scores 0.1, a random ranking scores 0.4." in table.sentence.item()
    assert table.sentence.item().endswith(
        "Not told apart from a random ranking at 95 % confidence: measure a."
    )


def test_differences_to_a_random_ranking_are_of_the_same_samples():
    table = summarize(made_up([[0.1, 0.5, np.nan], [0.2, 0.4, 0.9]]))
    assert float(table.above_random.sel(measure="a").item()) == pytest.approx((0.1 - 0.2 + 0.5 - 0.4) / 2)
    np.testing.assert_array_equal(table.above_random.sel(measure="random"), 0.0)


def test_what_are_no_scores_is_refused():
    with pytest.raises(clsight.RecordError) as refusal:
        summarize(xr.DataArray([1.0]))
    assert str(refusal.value) == (
        "`summarize`: expected scores that clsight.faithfulness.score_batches yielded, but got an object of "
        "type "
        'DataArray. Join batches with xarray.concat(batches, dim="sample").'
    )


def test_a_confidence_that_is_none_is_refused():
    with pytest.raises(clsight.StatisticsError, match="confidence"):
        summarize(made_up([[0.1, 0.2], [0.4, 0.5]]), confidence=95)
