"""What differs between models side by side, against sums over dense attention."""

import numpy as np
import pytest

from clsight import stack
from clsight_app.views.comparison import REDRAWN, answers, comparison_sentence, moved_share, notes
from clsight_app.views.wording import percent
from hand_made import patch_record

NAMES = ("learned", "zeros", "input_mean")


@pytest.fixture(scope="module")
def made():
    """Return three hand-made models by name, their weights drawn differently, of one example each."""
    return {name: patch_record(samples=1, seed=seed) for seed, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def stacked(made):
    """Return their records side by side."""
    return stack({name: one.record for name, one in made.items()})


def moved_by_hand(made, name, reference, layer):
    rows = [made[which].dense[0, layer, :, 0, :] for which in (name, reference)]
    return sum(abs(rows[0][:, token].mean() - rows[1][:, token].mean()) for token in range(7)) / 2


def test_moved_share_is_half_the_sum_of_absolute_differences(made, stacked):
    moved = moved_share(stacked, "zeros", layer=2)
    assert moved == {
        name: pytest.approx(moved_by_hand(made, name, "zeros", 2), abs=1e-6)  # float32 weights
        for name in ("learned", "input_mean")
    }


def test_moved_share_is_zero_for_the_same_record(made):
    twins = stack({"learned": made["zeros"].record, "zeros": made["zeros"].record})
    assert moved_share(twins, "learned", layer=0) == {"zeros": 0.0}


def test_sentence_tells_what_moved(made, stacked):
    one, other = (percent(moved_by_hand(made, name, "learned", 1)) for name in NAMES[1:])
    assert comparison_sentence(stacked, "learned", layer=1, direction="attends_to") == (
        f"In layer 1, compared with learned, CLS moves {one} of its attention to other tokens in zeros "
        f"and {other} in input_mean."
    )


def test_sentence_tells_what_the_others_give(made, stacked):
    given = [percent(float(np.mean(made[name].dense[0, 1, :, 1:, 0]))) for name in NAMES]
    assert comparison_sentence(stacked, "learned", layer=1, direction="attended_by") == (
        f"In layer 1, the other tokens give CLS {given[0]} of their attention in learned, "
        f"{given[1]} in zeros and {given[2]} in input_mean."
    )


def test_answers_tell_prediction_probability_and_reference(made, stacked):
    lines = answers(stacked, "learned", {name: f"model-{name}" for name in NAMES}, layer=0)
    assert [line.member for line in lines] == list(NAMES)
    assert lines[0].moved == "reference"
    for line in lines:
        logits = made[line.member].record["logits"].values[0].astype(float)
        chances = np.exp(logits) / sum(np.exp(logits))
        assert (line.model, line.predicted) == (f"model-{line.member}", "abcdef"[chances.argmax()])
        assert line.probability == percent(chances.max())


def test_notes_say_that_cls_is_redrawn(made):
    plain = made["zeros"].record
    assert notes(plain) == ["Made by hand."]
    assert notes(plain.assign_attrs(notes=["no dot", "a dot."])) == ["no dot.", "a dot."]
    redrawn = plain.assign_attrs(strategy="random_per_forward")
    assert notes(redrawn)[0] == REDRAWN
    assert notes(stack({"a": plain, "b": redrawn}))[0] == REDRAWN
