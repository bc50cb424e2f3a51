"""Masks and lengths beside the input: made where the names tell, and taken from the examples' mask."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import clsight
from clsight.errors import ClsightError
from clsight.loading import Examples, subject_of
from clsight.loading.further_arguments import Argument, further_arguments
from encoder_builders import randomize
from user_modules import FEATURES, TIME, VOCABULARY, Series, Text


class Masked(Text):
    """As the tokenizers of transformers call a model."""

    def forward(self, input_ids, attention_mask):
        tokens = self.widen(self.word_embedding(input_ids))
        tokens = torch.cat([self.cls.unsqueeze(0).repeat(len(input_ids), 1, 1), tokens], dim=1)
        mask = functional.pad(attention_mask, (1, 0), value=1) == 0
        return self.fc(self.encoder(tokens, src_key_padding_mask=mask)[:, 0])


class Padded(Masked):
    """As torch's own encoder takes a mask: True where padding is."""

    def forward(self, ids, key_padding_mask):
        return super().forward(ids, (~key_padding_mask).long())


class Turned(Masked):
    """A mask whose name does not tell that True is padding."""

    def forward(self, ids, mask):
        return super().forward(ids, (~mask.bool()).long())


class Lengths(Series):
    def forward(self, x, lengths):
        is_real = torch.arange(x.shape[1])[None] < lengths[:, None]
        return super().forward(torch.where(is_real[..., None], x, 0.0))


class Unknown(Series):
    def forward(self, x, temperature):
        return super().forward(x)


def ids():
    return np.random.default_rng(0).integers(VOCABULARY, size=(3, 7))


@pytest.mark.parametrize("kind", [Masked, Padded, Turned])
def test_module_with_a_mask_is_called_with_it(kind):
    module = randomize(kind())
    subject = subject_of(module)
    assert (subject.takes, subject.token_kinds) == ("token_ids", ("cls", "word"))
    assert clsight.capture(subject, subject.examples).sizes["sample"] == 4
    mask = np.ones((3, 7), dtype=bool)
    mask[0, 4:] = False
    padded = clsight.capture(subject, Examples(ids(), token_mask=mask))
    alone = clsight.capture(subject, ids()[:1, :4])
    np.testing.assert_allclose(padded.attends_to[0, ..., :5], alone.attends_to[0], atol=1e-6)
    assert padded.token_kind.values[0].tolist() == ["cls", *["word"] * 4, *["pad"] * 3]
    assert padded.token_mask.values[0].tolist() == [True] * 5 + [False] * 3


def test_module_with_lengths_is_called_with_them():
    subject = subject_of(randomize(Lengths()))
    assert subject.token_kinds == ("cls", "step")
    mask = np.ones((2, TIME), dtype=bool)
    mask[1, 5:] = False
    series = np.random.default_rng(0).normal(size=(2, TIME, FEATURES)).astype(np.float32)
    prepared = subject.prepare(Examples(series, token_mask=mask))
    assert prepared.inputs[1].tolist() == [TIME, 5]
    record = clsight.capture(subject, Examples(series, token_mask=mask))
    own = clsight.capture(subject.module, prepared.inputs, token_mask=prepared.token_mask)
    np.testing.assert_array_equal(record.attends_to, own.attends_to)


def test_mask_of_another_length_is_refused():
    with pytest.raises(ClsightError, match=r"expected token_mask \[sample=3, time=7\], but got \[3, 6\]"):
        subject_of(randomize(Masked())).prepare(Examples(ids(), token_mask=np.ones((3, 6), dtype=bool)))


def test_argument_whose_name_says_nothing_is_not_made_up():
    assert list(further_arguments(Unknown())) == []
    subject = subject_of(Unknown())
    assert subject.examples is None
    assert subject.provenance["examples"].startswith("none: no made-up input runs")
    with pytest.raises(ClsightError, match="needs `temperature`"):
        subject.prepare(np.zeros((2, 4, FEATURES)))


def test_module_that_needs_nothing_more_is_called_with_its_input():
    assert list(further_arguments(Series())) == [()]
    assert list(further_arguments(nn.Linear(2, 3))) == [()]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("lengths", [2, 3]),
        ("ones", [[1, 1, 0], [1, 1, 1]]),
        ("true", [[True, True, False], [True, True, True]]),
        ("false", [[False, False, True], [False, False, False]]),
    ],
)
def test_argument_tells_padding_in_its_form(form, value):
    is_real = torch.tensor([[True, True, False], [True, True, True]])
    assert Argument("x", form).value(is_real).tolist() == value
