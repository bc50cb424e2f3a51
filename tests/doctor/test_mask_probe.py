"""Masks on trial: which token is masked, in which sense, and where nothing can be told."""

import numpy as np
import pytest
import torch

import clsight
from clsight.doctor import diagnosis
from clsight.doctor.examination import Examination
from clsight.doctor.mask_probe import mask_probe, masks_of
from doctor import cls_patients, mask_patients
from doctor.mask_patients import end_of_text, of_length, taking, under
from doctor.patients import WIDTH, Healthy, changed, healthy, series


def judged(model, *given, **options):
    """Return what is told of the masks, as severity and sentence, and the reason if nothing is."""
    findings = clsight.diagnose(model, *given, **options)
    told = [(item.severity, item.sentence) for item in findings if item.check == "mask_is_honored"]
    return told, findings.not_applicable.get("mask_is_honored")


def probe_of(model, name, *, means_real, inputs=None):
    examination = Examination(diagnosis._question(model, inputs, None))
    return mask_probe(examination, name, means_real=means_real)


def test_last_real_token_is_masked_and_changed():
    probe = probe_of(
        healthy(), "token_mask", means_real=True, inputs=under("token_mask", of_length())["inputs"]
    )
    real = of_length()
    expected = [[place == length - 1 for place in range(7)] for length in (7, 5, 4, 3)]
    assert torch.equal(probe.inputs["token_mask"], real & ~torch.tensor(expected))
    assert np.array_equal(probe.hidden[:, 1:], ~probe.inputs["token_mask"])
    assert not probe.hidden[:, 0].any()
    assert not probe.is_between
    same = (probe.changed["x"] == series()).all(2)
    assert torch.equal(same, probe.inputs["token_mask"])


def test_mask_of_a_model_whose_cls_stands_last_is_tried_at_the_last_token_of_the_input():
    module, given = mask_patients.cls_last(), under("token_mask", of_length())["inputs"]
    cls_last_without_mask = type(module).forward
    told, _ = judged(module, given, cls_index=-1)
    assert [severity for severity, _ in told] == ["ok"]
    changed(module, forward=lambda self, x, token_mask=None: cls_last_without_mask(self, x))
    told, _ = judged(module, given, cls_index=-1)
    assert [severity for severity, _ in told] == ["error"]


def test_token_before_a_cls_that_ends_its_text_is_masked():
    probe = probe_of(end_of_text(is_honored=True), "attention_mask", means_real=True)
    assert probe.is_between
    hidden = [[place == end - 1 or place > end for place in range(7)] for end in (4, 2, 6, 3)]
    assert np.array_equal(probe.hidden, hidden)


def test_changed_ids_are_not_those_that_end_a_text():
    probe = probe_of(end_of_text(is_honored=True), "attention_mask", means_real=True)
    ids, end = probe.changed["input_ids"], mask_patients.EndOfText.END
    assert [row.index(end) for row in ids.tolist()] == [4, 2, 6, 3]
    assert (ids == end).sum() == 4


def test_mask_is_not_judged_where_causality_hides_every_token():
    told, reason = judged(mask_patients.causal(), under("token_mask", of_length())["inputs"])
    assert told == []
    assert reason == "[CLS] sees no token that could be masked on trial"


def test_mask_taken_for_a_length_is_not_called_dropped_where_cls_stands_last():
    """The model counts real tokens, so one that is masked in between stays and another goes."""

    def forward(self, input_ids, attention_mask):
        real = torch.arange(input_ids.shape[1]) < attention_mask.sum(1, keepdim=True)
        return mask_patients.EndOfText.forward(self, input_ids, real.long())

    subject = end_of_text(is_honored=True)
    subject.module.__class__ = type("Counting", (mask_patients.EndOfText,), {"forward": forward})
    told, reason = judged(subject)
    assert told == []
    assert reason == "`attention_mask` changes what [CLS] attends to, but hides no token from it alone"


def test_mask_that_says_which_tokens_to_replace_is_not_called_dropped():
    def masked(self, x, mask):
        return Healthy.forward(self, torch.where(mask[..., None], x, 0.5))

    module = changed(taking("mask"), masked=masked)
    told, reason = judged(module, under("mask", of_length())["inputs"])
    assert told == []
    assert reason == "`mask` changes what [CLS] attends to, but hides no token from it alone"


def test_masks_of_a_call_are_found_with_the_senses_they_may_have():
    def forward(self, x, mask=None, padding_mask=None, src_key_padding_mask=None):
        return Healthy.forward(self, x)

    def found(module, **masks):
        return masks_of(Examination(diagnosis._question(module, {"x": series(), **masks}, None)))

    module = changed(healthy(), forward=forward)
    assert found(module) == {"src_key_padding_mask": (False,)}
    assert found(module, mask=of_length(), padding_mask=of_length()) == {
        "src_key_padding_mask": (False,),
        "padding_mask": (True, False),
    }
    assert found(taking("mask"), mask=of_length()) == {"mask": (True, False)}
    assert found(taking("key_padding_mask")) == {"key_padding_mask": (False,)}


@pytest.mark.parametrize("mask", [None, torch.ones(7, 7), 3 * torch.ones(4, 7), torch.ones(4, 8)])
def test_mask_of_another_form_is_none_that_is_known(mask):
    _, reason = judged(taking("mask"), {"x": series(), "mask": mask})
    assert reason == "the capture was refused" or reason.startswith("the call has no argument `token_mask`, ")


def test_noise_is_not_taken_for_what_masked_tokens_change():
    told, _ = judged(cls_patients.closed_stream(), series())
    ((severity, sentence),) = told
    assert severity == "ok"
    assert sentence.startswith(
        "`token_mask` is honored: masked tokens receive 0. Of the answer, two passes with"
    )


def test_change_above_the_noise_is_told():
    generator = torch.Generator().manual_seed(1)

    def read(self, states):
        return states.mean(1) + 0.01 * torch.randn(len(states), WIDTH, generator=generator)

    told, _ = judged(changed(healthy(), read=read), series())
    assert [severity for severity, _ in told] == ["warning"]
