"""What is said of a head's scale: the number where scores are q·k alone, else that there is more."""

import numpy as np
import pytest

from clsight_app.views.head import class_numbers, most_attended
from clsight_app.views.inside import scale_sentence
from hand_made import patch_record

KEEP = ["keys_values"]


@pytest.fixture(scope="module")
def record(catalog):
    return catalog.record("digits-learned", 2, KEEP)


def test_scale_of_a_head_is_told(record):
    assert scale_sentence(record, layer=1, head=2).startswith("The score is 0.2887 × q·k (measured; off by ")


def test_more_than_a_product_is_told(record):
    biased = record.copy()
    raised = record["attends_to"] * np.exp(np.arange(record.sizes["token"]) % 3).astype(np.float32)
    biased["attends_to"] = raised / raised.sum("token")
    assert scale_sentence(biased, layer=1, head=2).startswith("The score is not q·k alone: off by up to ")


def test_two_tokens_are_too_few(record):
    assert scale_sentence(record.isel(token=[0, 1]), layer=0, head=0) == (
        "Too few tokens to tell how scores follow from q·k."
    )


def test_most_attended_token_is_not_cls_itself():
    made = patch_record()
    one = made.record.isel(sample=[1])
    row = made.dense[1, 2, 3, 0].copy()
    row[0] = -1
    assert most_attended(one, layer=2, head=3) == int(row.argmax())
    assert most_attended(one.isel(token=[0]), layer=2, head=3) == 0


def test_classes_come_with_probability_and_logit(catalog):
    record = catalog.record("digits-learned", 2)
    logits = record["logits"].values[0]
    found = class_numbers(record, count=3)
    order = sorted(range(10), key=lambda index: -logits[index])[:3]
    assert [number.remark for number in found] == [f"logit {logits[index]:.2f}" for index in order]
    assert [number.name for number in found] == [str(record["class_name"].values[index]) for index in order]
