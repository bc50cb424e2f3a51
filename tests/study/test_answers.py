"""Answers: planted effects are found, identical strategies are not, and the words fit the numbers."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from clsight import StudyError
from clsight.study import RunSettings
from clsight.study.answer_sentences import sentence
from clsight.study.answers import Pair, answered, late_answers, pairs_of, primary_answers
from clsight.study.planned_runs import PlannedRun
from clsight.study.results import ArmResults, StudyResults
from clsight.study.store import StoredRun

SEEDS = 10


def values(numbers):
    return xr.DataArray(np.asarray(numbers, dtype=float), dims="seed", coords={"seed": range(len(numbers))})


def simulated(generator, *, effects, spread=0.014, seeds=SEEDS, **settings):
    """Return the comparisons of a made-up study: accuracies that share what the seed gives to both arms."""
    shared = generator.normal(0.95, 0.02, seeds)
    first = shared + generator.normal(0, spread / np.sqrt(2), seeds)
    found = []
    for number, effect in enumerate(effects):
        other = shared + generator.normal(0, spread / np.sqrt(2), seeds) - effect
        found.append(Pair(name=f"c{number}", a=values(first), b=values(other), **settings))
    return found


@pytest.mark.slow
def test_identical_strategies_under_other_names_are_found_in_no_more_studies_than_the_level_allows():
    """Of 200 studies with three comparisons, at most 16 find any: P(more) < 3 % at a true rate of 0.05."""
    generator = np.random.default_rng(6)
    studies = [answered(simulated(generator, effects=[0, 0, 0]), 0.05) for _ in range(200)]
    assert 1 <= sum(any(answer.verdict == "different" for answer in study) for study in studies) <= 16
    # Without adjustment it would be more, so that this can fail.
    assert sum(any(answer.p_value <= 0.05 for answer in study) for study in studies) > 16


def test_a_planted_effect_is_found_with_its_direction_beside_arms_without():
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(50):
        study = answered(simulated(generator, effects=[0.03, 0, 0]), 0.05)
        found += study[0].verdict == "different"
        assert study[0].interval["low"] < study[0].interval["estimate"] < study[0].interval["high"]
    assert found >= 45  # the effect is twice the spread of the differences, and n = 10


@pytest.mark.slow
def test_arms_that_differ_by_the_margin_are_equivalent_in_no_more_studies_than_the_level_allows():
    generator = np.random.default_rng(4)
    settings = {"test": "equivalence", "margin": 0.005}
    studies = [answered(simulated(generator, effects=[0.005], **settings), 0.05) for _ in range(200)]
    assert sum(study[0].verdict == "equivalent" for study in studies) <= 16


def test_equivalence_is_found_where_the_spread_is_small_and_inconclusive_where_it_is_not():
    generator = np.random.default_rng(2)
    settings = {"test": "equivalence", "margin": 0.005}
    (small,) = answered(simulated(generator, effects=[0], spread=0.002, **settings), 0.05)
    (large,) = answered(simulated(generator, effects=[0], spread=0.014, **settings), 0.05)
    assert small.verdict == "equivalent"
    assert small.power > 0.99
    assert large.verdict == "inconclusive"
    assert large.power < 0.2  # on digits ten seeds cannot show equivalence at half a point
    assert large.seeds_needed > 40
    assert "This does not show that there is no difference" in sentence(large)
    assert f"0.8 takes {large.seeds_needed} seeds" in sentence(large)


def test_ties_everywhere_are_no_difference_found_and_equivalent_by_sign_flips():
    same = values([1.0] * SEEDS)
    (difference,) = answered([Pair(name="tied", a=same, b=same)], 0.05)
    assert (difference.verdict, difference.p_value) == ("inconclusive", 1.0)
    (equal,) = answered([Pair(name="tied", a=same, b=same, test="equivalence", margin=0.01)], 0.05)
    assert equal.verdict == "equivalent"
    assert equal.p_value == 0.5**SEEDS
    assert sentence(equal) == (
        "tied: a and b are equivalent within ±0.01. The difference is +0.0000 (no interval, since all "
        "are the same, "
        "n = 10 seeds); p = 0.00098, 0.00098 after Holm over 1 comparison. "
        "All 10 differences are 0, tested by sign flips around the margin."
    )


def test_a_constant_difference_beyond_the_margin_is_not_equivalent():
    pair = Pair(name="c", a=values([0.5] * SEEDS), b=values([0.25] * SEEDS), test="equivalence", margin=0.125)
    (answer,) = answered([pair], 0.05)
    assert answer.verdict == "inconclusive"
    assert answer.p_value == 1.0


def test_holm_is_over_the_whole_family():
    generator = np.random.default_rng(3)
    alone = answered(simulated(np.random.default_rng(3), effects=[0.03]), 0.05)
    family = answered(simulated(generator, effects=[0.03, 0, 0, 0]), 0.05)
    assert family[0].p_value == alone[0].p_value
    assert family[0].adjusted == pytest.approx(4 * alone[0].p_value)
    assert family[0].family == 4


def test_the_sentence_of_a_difference_has_direction_interval_and_both_p_values():
    a, b = values(np.linspace(0.9, 0.99, SEEDS)), values(np.linspace(0.5, 0.58, SEEDS))
    answers = answered([Pair(name="zeros without bias", a=a, b=b, words=("learned", "zeros"))] * 2, 0.05)
    text = sentence(answers[0])
    assert text.startswith(
        "zeros without bias: learned has more accuracy than zeros. The difference is +0.4050 (95 %"
    )
    assert text.endswith("n = 10 seeds); p = 0.002, 0.0039 after Holm over 2 comparisons.")
    assert "has less accuracy" in sentence(answered([Pair(name="x", a=b, b=a)], 0.05)[0])


PLANNED = PlannedRun(settings=RunSettings(task="count"), evaluate="test", probe_steps=0)


def finished(seed, accuracy, *, diverged=False):
    outcome = {"accuracy": accuracy, "loss": 1 - accuracy, "steps_to_90": float("nan")}
    if diverged:
        outcome |= {"accuracy": 0.1, "loss": float("nan")}
    return StoredRun(f"k{seed}", Path("none"), PLANNED, outcome, diverged, 1.0)


def arm(strategy, accuracies, *, diverged=(), missing=()):
    runs = {s: finished(s, x, diverged=s in diverged) for s, x in enumerate(accuracies) if s not in missing}
    return ArmResults(
        block="main",
        labels={"norm": "pre", "strategy": strategy, "bias": False},
        settings={},
        learning_rate=0.01,
        tuned=True,
        seeds=tuple(range(len(accuracies))),
        runs=runs,
        failed={seed: "ValueError: no" for seed in missing},
    )


def study(*arms, **declared):
    primary = {
        "name": "main question",
        "block": "main",
        "a": arms[0].labels,
        "b": arms[1].labels,
        "metric": "accuracy",
        "test": "difference",
        "declared_after": 0,
        **declared,
    }
    return StudyResults(name="s", question="", level=0.05, arms=arms, primaries=(primary,))


GOOD = np.linspace(0.9, 0.99, SEEDS)


def test_runs_that_diverged_stay_in_the_denominator():
    found = study(arm("learned", GOOD), arm("zeros", GOOD, diverged=(2, 5)))
    (pair,) = pairs_of(found)
    assert pair.b.values.tolist() == [0.1 if seed in (2, 5) else GOOD[seed] for seed in range(SEEDS)]
    (answer,) = primary_answers(found)
    assert answer.interval["n"] == SEEDS
    assert answer.interval["estimate"] == pytest.approx((GOOD[2] + GOOD[5] - 0.2) / SEEDS)
    assert found.arms[1].diverged == 2
    assert found.arms[1].values("loss").isnull().values.tolist() == [s in (2, 5) for s in range(SEEDS)]


def test_a_comparison_with_missing_runs_has_no_answer_yet():
    (answer,) = primary_answers(study(arm("learned", GOOD), arm("zeros", GOOD, missing=(3,))))
    assert answer.verdict == "inconclusive"
    assert sentence(answer) == (
        "main question: no answer yet, for 1 of 10 pairs is NaN; skipna=True leaves it out."
    )


def test_sides_are_told_by_what_differs_and_what_they_share_once():
    assert arm("zeros", GOOD).words() == "zeros, norm pre, bias off"
    (pair,) = pairs_of(study(arm("learned", GOOD), arm("zeros", GOOD - 0.1)))
    assert (pair.words, pair.where) == (("learned", "zeros"), "norm pre, bias off")
    text = sentence(answered([pair], 0.05)[0])
    assert text.startswith("main question: learned has more accuracy than zeros (norm pre, bias off). ")


def test_arms_that_differ_are_not_shown_to_be_equivalent_and_nothing_is_said_of_power():
    generator = np.random.default_rng(5)
    pairs = simulated(generator, effects=[0.1], test="equivalence", margin=0.005)
    text = sentence(answered(pairs, 0.05)[0])
    assert text.startswith("c0: a and b are not shown to be equivalent within ±0.005: inconclusive. ")
    assert "power" not in text
    assert "The difference is not 0 (p = " in text


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(StudyError) as caught:
        primary_answers(study(arm("learned", GOOD), arm("zeros", GOOD), metric="acuracy"))
    assert str(caught.value) == (
        "`metric`: expected a number of the outcome, but got 'acuracy'. Did you mean `accuracy`? "
        "Options: accuracy, loss, steps_to_90."
    )


def test_a_comparison_declared_late_is_in_no_family_with_those_declared_before():
    found = study(arm("learned", GOOD), arm("zeros", GOOD - 0.1), declared_after=20)
    assert primary_answers(found) == []
    assert [answer.pair.name for answer in late_answers(found)] == ["main question"]
