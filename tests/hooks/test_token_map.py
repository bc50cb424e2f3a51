"""A token map of another sequence than the captured one is refused; without one, tokens are numbered."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import clsight
from clsight.errors import CaptureError
from encoder_builders import randomize
from user_modules import Abreast, Series


def with_map(subject, change):
    """Return the subject with a preparation of the user's own, which changes what was prepared."""
    return replace(subject, preparation=lambda examples: change(subject.preparation(examples)))


CHANGES = {
    "token_text": (
        lambda prepared: replace(prepared, token_text=prepared.token_text[:, 1:]),
        "[sample=3, token=10], as layer `encoder.layers.0` sees them, but got [sample=3, token=9]",
    ),
    "token_kind": (
        lambda prepared: replace(prepared, token_kind=prepared.token_kind[0]),
        "[sample=3, token=10], as layer `encoder.layers.0` sees them, but got [sample=10]",
    ),
    "row": (
        lambda prepared: replace(prepared, row=np.zeros((3, 10, 2)), column=np.zeros((3, 10))),
        "[sample=3, token=10], as layer `encoder.layers.0` sees them, but got an array of 3 dimensions",
    ),
    "label": (
        lambda prepared: replace(prepared, label=np.array([1])),
        "[sample=3], as layer `encoder.layers.0` sees them, but got [sample=1]",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_map_that_does_not_fit_is_a_sentence(name):
    change, message = CHANGES[name]
    subject = clsight.subject_of(randomize(Series()))
    with pytest.raises(CaptureError) as refusal:
        clsight.capture(with_map(subject, change), subject.examples[:3])
    assert str(refusal.value) == (
        f"`{name}`: expected {message}. Prepare a token map of this sequence; of a module in memory with "
        "several encoders clsight.subject_of(module, within=NAME) does."
    )


def test_the_map_of_another_encoder_is_a_sentence():
    subject = clsight.subject_of(randomize(Abreast()), within="left")
    with pytest.raises(CaptureError, match=r"`token_text`: expected \[sample=4, token=13\], as layer `right"):
        clsight.capture(subject, subject.examples, within="right")


def test_a_map_of_lists_is_taken():
    def as_lists(prepared):
        return replace(prepared, token_text=prepared.token_text.tolist(), label=[2, 0, 1])

    subject = clsight.subject_of(randomize(Series()))
    record = clsight.capture(with_map(subject, as_lists), subject.examples[:3])
    assert record.token_text.values[0, :2].tolist() == ["[CLS]", "step 0"]
    assert record.label.values.tolist() == [2, 0, 1]


def test_tokens_of_a_bare_module_are_numbered():
    record = clsight.capture(randomize(Series()), torch.ones(2, 4, 5))
    assert record.token_text.values[1].tolist() == ["[CLS]", "1", "2", "3", "4"]
    assert record.token_kind.values[1].tolist() == ["cls", "step", "step", "step", "step"]
