"""A head's numbers, against the same numbers taken from its dense row and column."""

import math

import numpy as np
import pytest

from clsight_app.views.head import answer_sentence, class_name, head_numbers, probabilities, top_tokens
from clsight_app.views.wording import percent
from hand_made import patch_record, word_record


def one_example(made, sample):
    return made.record.isel(sample=[sample]), made.dense[sample], made.mask[sample]


def remarks(numbers):
    return {number.name: f"{number.value} {number.remark}".strip() for number in numbers}


@pytest.mark.parametrize("sample", [0, 1])
def test_head_numbers_are_those_of_the_dense_head(sample):
    record, dense, mask = one_example(word_record(), sample)
    real = int(mask.sum())
    row, column = dense[2, 1, 0, :real], dense[2, 1, :real, 0]
    entropy = -sum(w * np.log(w) for w in row)
    most = int(row.argmax())
    name = "CLS itself" if most == 0 else str(record["token_text"].values[0, most])
    assert remarks(head_numbers(record, layer=2, head=1)) == {
        "Entropy": f"{entropy:.2f} nats, of {np.log(real):.2f}",
        "Effective tokens": f"{np.exp(entropy):.1f} of {real}",
        "CLS to itself": f"{percent(row[0])} of its attention",
        "Largest lift": f"{row.max() * real:.1f} × even share, {name}",
        "Others to CLS": f"{percent(column[1:].mean())} of theirs, on average",
    }


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_top_tokens_are_the_largest_of_the_dense_head(direction):
    record, dense, _ = one_example(patch_record(grid=(2, 3)), 1)
    weights = dense[0, 3, 0, :] if direction == "attends_to" else dense[0, 3, :, 0]
    order = np.argsort(-weights)[:4]
    names = ["CLS itself"] + [f"patch row {i // 3}, column {i % 3}" for i in range(6)]
    found = top_tokens(record, layer=0, head=3, direction=direction, count=4)
    assert [(line.name, line.value) for line in found] == [(names[i], percent(weights[i])) for i in order]


@pytest.mark.parametrize(
    ("class_index", "told"),
    [
        (2, "The model answers c with probability 50 %, but it is e."),
        (4, "The model answers e with probability 50 %, which is right."),
    ],
)
def test_answer_tells_class_probability_and_truth(class_index, told):
    record = patch_record().record.isel(sample=[1]).copy(deep=True)
    record["logits"][0] = 0.0
    record["logits"][0, class_index] = math.log(5)
    assert answer_sentence(record) == told
    assert answer_sentence(record.drop_vars("label")) == told.split(",")[0] + "."


def test_answer_is_empty_when_the_model_does_not_classify():
    assert answer_sentence(patch_record().record.drop_vars("logits")) == ""


def test_probabilities_stay_finite_for_large_logits():
    record = patch_record().record.copy(deep=True)
    record["logits"][0] = [1000.0, 1000.0, 0.0, 0.0, 0.0, 0.0]
    assert probabilities(record).tolist() == [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]


def test_class_name_is_the_number_when_there_are_no_names():
    assert class_name(patch_record().record.drop_vars("class_name"), 4) == "4"
