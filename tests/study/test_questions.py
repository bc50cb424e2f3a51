"""The three sentences: what they rest on, how they depend, and that no difference is never claimed."""

import pytest

from clsight.study.answers import primary_answers
from clsight.study.contrasts import contrasts_of
from clsight.study.questions import question_answers
from clsight.study.results import StudyResults
from study.made_results import SHARED, declared, made_arm, made_study

EFFECTS = {(False, "pre"): 0.3, (True, "pre"): 0.0}


def told(results):
    answers = question_answers(results, primary_answers(results), contrasts_of(results, "accuracy"))
    return {one.question: one for one in answers}


def test_a_question_that_nothing_declared_asks_is_not_answered():
    found = told(made_study(EFFECTS))
    zeros = found["Are zeros bad?"]
    assert zeros.verdict == "not asked"
    assert zeros.sentence == "Not answered: this study declared no comparison on it beforehand."
    assert zeros.notes == (
        "2 differences to the first strategy, over all conditions: interval below 0 for 1, above 0 for 0, "
        "unclear for 1.",
    )
    assert found["Can [CLS] be random at every forward pass?"].notes == ()


def test_a_difference_is_told_with_its_direction_whichever_side_was_declared_first():
    first = told(made_study(EFFECTS, [declared("zeros", "learned", bias=False, norm="pre")]))
    second = told(made_study(EFFECTS, [declared("learned", "zeros", bias=False, norm="pre")]))
    sentence = first["Are zeros bad?"].sentence
    assert sentence.startswith(
        "They make a difference: zeros has less accuracy than learned (bias off, norm pre): -0.300, 95 % "
        "interval -0.30"
    )
    assert second["Are zeros bad?"].sentence.split(": ")[1] == sentence.split(": ")[1]
    assert first["Are zeros bad?"].verdict == "different"


def test_declared_comparisons_that_disagree_depend():
    primaries = [
        declared("zeros", "learned", bias=False, norm="pre"),
        declared("zeros", "learned", bias=True, norm="pre", test="equivalence", margin=0.01),
    ]
    answer = told(made_study(EFFECTS, primaries))["Are zeros bad?"]
    assert answer.verdict == "depends"
    assert answer.sentence.startswith(
        "It depends: zeros has less accuracy than learned (bias off, norm pre): "
    )
    assert (
        "; zeros and learned are equivalent in accuracy within ±0.01 (bias on, norm pre): " in answer.sentence
    )


@pytest.mark.parametrize("test", ["difference", "equivalence"])
def test_what_is_inconclusive_stays_open_and_is_never_no_difference(test):
    margin = {"margin": 0.001} if test == "equivalence" else {}
    primaries = [declared("zeros", "learned", bias=True, norm="pre", test=test, **margin)]
    answer = told(made_study(EFFECTS, primaries))["Are zeros bad?"]
    assert answer.verdict == "inconclusive"
    asked = "are equivalent within ±0.001" if test == "equivalence" else "differ"
    assert answer.sentence.startswith(
        f"Inconclusive: whether zeros and learned {asked} in accuracy stays open (bias on, norm pre): "
    )
    assert "no difference" not in answer.sentence


def test_comparisons_that_end_alike_are_counted_with_the_range_of_their_differences():
    effects = {(False, "pre"): 0.3, (False, "post"): 0.4}
    primaries = [declared("zeros", "learned", bias=False, norm=norm) for norm in ("pre", "post")]
    answer = told(made_study(effects, primaries))["Are zeros bad?"]
    assert answer.sentence == (
        "They make a difference: zeros has less accuracy than learned in 2 comparisons: "
        "differences from -0.400 to -0.300."
    )


def test_draws_and_gradients_are_told_as_exploratory_notes():
    eight = range(8)
    arms = (
        made_arm({"strategy": "learned"}, SHARED),
        made_arm({"strategy": "drawn"}, SHARED, strategy="random_per_forward", flip_rate=[0.08] * 8),
        made_arm(
            {"strategy": "learned_zeros"},
            SHARED,
            gradient_at_start=[1.0] * 8,
            gradient_at_start_float16=[
                float("nan") if n < 3 else float("inf") if n == 3 else 2.0 for n in eight
            ],
        ),
    )
    found = told(StudyResults(name="s", question="", level=0.05, arms=arms, primaries=()))
    random = found["Can [CLS] be random at every forward pass?"].notes
    assert random == ("Between two draws of [CLS] 8.0 % of predictions change.",)
    assert found["Are zeros bad?"].notes == (
        "At zero the first gradient at [CLS] is not finite in 0 of 8 runs in float32.",
        "At zero the first gradient at [CLS] is not finite in 4 of 8 runs in float16.",
    )
