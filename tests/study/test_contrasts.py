"""Contrasts: each arm beside the right counterpart, and a change of the answer found where it was planted."""

import numpy as np
import pytest

from clsight import StudyError
from clsight.study.contrasts import changes_of, conditions_of, contrasts_of
from clsight.study.results import StudyResults
from study.made_results import NOISE, made_arm, made_study

EFFECTS = {(False, "pre"): 0.3, (True, "pre"): 0.0, (False, "post"): 0.4, (True, "post"): 0.0}


def test_each_arm_is_compared_within_its_condition():
    found = contrasts_of(made_study(EFFECTS), "accuracy")
    assert [(one.arm.words(), one.reference.words()) for one in found] == [
        (f"zeros, bias {bias}, norm {norm}", f"learned, bias {bias}, norm {norm}")
        for bias, norm in (("off", "pre"), ("on", "pre"), ("off", "post"), ("on", "post"))
    ]
    for one, effect in zip(found, EFFECTS.values(), strict=True):
        np.testing.assert_allclose(one.differences.values, np.array(NOISE) - effect, atol=1e-12)
    assert [one.reading for one in found] == ["lower", "unclear", "lower", "unclear"]


def test_conditions_hold_the_arms_that_differ_by_strategy_alone():
    found = conditions_of(made_study(EFFECTS))
    assert [one.words for one in found][:2] == ["bias off, norm pre", "bias on, norm pre"]
    assert all([arm.strategy_label for arm in one.arms] == ["learned", "zeros"] for one in found)


def test_a_change_is_between_conditions_that_differ_in_one_setting_and_has_an_interval_of_its_own():
    found = changes_of(contrasts_of(made_study(EFFECTS), "accuracy"))
    told = {(one.name, one.shared): one for one in found}
    assert set(told) == {
        ("bias", "norm pre"),
        ("bias", "norm post"),
        ("norm", "bias off"),
        ("norm", "bias on"),
    }
    estimates = {place: float(one.interval["estimate"]) for place, one in told.items()}
    assert estimates["bias", "norm pre"] == pytest.approx(0.3)
    assert estimates["bias", "norm post"] == pytest.approx(0.4)
    assert estimates["norm", "bias off"] == pytest.approx(-0.1)
    assert [place for place, one in told.items() if not one.is_clear] == [("norm", "bias on")]


@pytest.mark.parametrize(("effect", "reading"), [(0.25, "lower"), (-0.25, "higher"), (0.0, "unclear")])
def test_differences_that_are_all_the_same_have_a_reading_but_no_interval(effect, reading):
    arms = [made_arm({"strategy": name}, [0.5 - value] * 8) for name, value in (("a", 0), ("b", effect))]
    study = StudyResults(name="", question="", level=0.05, arms=tuple(arms), primaries=())
    (constant,) = contrasts_of(study, "accuracy")
    assert np.isnan(constant.interval["low"])
    assert constant.reading == reading


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(StudyError) as caught:
        contrasts_of(made_study(EFFECTS), "acuracy")
    assert str(caught.value) == (
        "`metric`: expected a number of the outcome, but got 'acuracy'. Did you mean `accuracy`? "
        "Options: accuracy."
    )
