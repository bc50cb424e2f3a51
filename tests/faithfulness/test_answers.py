"""Answers that are compared share every random draw; what cannot be compared is refused."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import clsight
from clsight.faithfulness import leave_one_out, removal_curves
from evidence_models import EVIDENCE, PLAIN, Evidence, kinds_of, sentence
from hand_run_models import CLASSES, TOKENS, WIDTH, torch_classifier
from module_state import state


class DrawsCls(nn.Module):
    """The classifier with a [CLS] that is drawn anew at each pass."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, src, src_key_padding_mask=None):
        cls = torch.randn(len(src), 1, WIDTH, dtype=src.dtype)
        return self.classifier(torch.cat([cls, src[:, 1:]], 1), src_key_padding_mask)


class Deaf(DrawsCls):
    """The same, but [CLS] is the answer: no token has an effect."""

    def forward(self, src, src_key_padding_mask=None):
        self.classifier(src, src_key_padding_mask)
        return torch.randn(len(src), CLASSES, dtype=src.dtype)


def scores(samples=3):
    return xr.DataArray(np.random.default_rng(0).random((samples, TOKENS)), dims=("sample", "token"))


def refusal_of(module, inputs, **asked):
    with pytest.raises(clsight.CaptureError) as refusal:
        leave_one_out(module, inputs, progress=False, **asked)
    return str(refusal.value)


def test_passes_that_are_compared_share_one_draw():
    model = torch_classifier()
    effects = leave_one_out(Deaf(model.module), model.inputs, progress=False)
    assert effects.attrs["draws"] == 10
    np.testing.assert_array_equal(effects[:, 1:], 0)


def test_answers_are_means_over_draws():
    model = torch_classifier()
    module = DrawsCls(model.module)
    asked = {"by": "mask", "steps": 2, "progress": False, "target": 1}
    one_by_one = [
        removal_curves(module, model.inputs, scores(), draws=1, seed=seed, **asked) for seed in (4, 5, 6)
    ]
    together = removal_curves(module, model.inputs, scores(), draws=3, seed=4, **asked)
    for name in ("deletion", "insertion"):
        mean = sum(one[name].values for one in one_by_one) / 3
        np.testing.assert_allclose(together[name], mean, rtol=1e-12)
        assert np.ptp([one[name].values for one in one_by_one], axis=0).max() > 1e-3, "draws differ"
    assert [one.attrs["draws"] for one in (*one_by_one, together)] == [1, 1, 1, 3]


def test_random_state_is_as_before():
    model = torch_classifier()
    module = DrawsCls(model.module)
    before = state(module)
    leave_one_out(module, model.inputs, draws=2, progress=False)
    assert state(module) == before


def test_deletion_of_a_model_that_draws_is_refused():
    model = torch_classifier()
    assert refusal_of(DrawsCls(model.module), model.inputs, by="deletion") == (
        "`DrawsCls`: expected a model that draws nothing at random, so that samples can be run apart, but "
        "got one "
        'that does, to be asked by deletion. Remove tokens by="mask" or by="baseline".'
    )


def test_logits_may_be_named():
    class Named(DrawsCls):
        def forward(self, src, src_key_padding_mask=None):
            logits = self.classifier(src, src_key_padding_mask)
            return {"a": logits, "b": 0 * logits}

    model = torch_classifier()
    named = leave_one_out(Named(model.module), model.inputs, output=lambda made: made["a"], progress=False)
    plain = leave_one_out(model.module, model.inputs, progress=False)
    np.testing.assert_array_equal(named, plain)
    assert refusal_of(Named(model.module), model.inputs) == (
        "`Named`: expected logits, whose probability can be compared, but got none: the output holds 2 "
        "tensors of "
        "shape [sample, class], where one is expected. Pass output=, a function from the model's output to "
        "its "
        "logits."
    )


def test_an_answer_that_is_nan_is_refused():
    class Fragile(Evidence):
        def forward(self, input_ids, attention_mask):
            seen = attention_mask[:, 1:].sum(1, keepdim=True)
            return super().forward(input_ids, attention_mask) * (seen / seen)  # 0 / 0 without a word

    inputs = sentence([EVIDENCE, PLAIN, 5], [EVIDENCE, PLAIN])
    assert refusal_of(Fragile(), inputs, token_kind=kinds_of(inputs)) == (
        "`Fragile`: expected an answer in numbers, but got NaN for 1 of 2 samples. Attention is NaN in many "
        "models "
        'where all tokens are hidden. Remove tokens in another way, such as by="baseline".'
    )


@pytest.mark.parametrize("target", [5, -1, [0, 1], 1.5, "dog"])
def test_a_class_that_does_not_exist_is_refused(target):
    model = torch_classifier()
    assert refusal_of(model.module, model.inputs, target=target) == (
        f"`target`: expected a class between 0 and 4, for all or for each of 3 samples, but got {target}. "
        "Leave it "
        "out to take the class that the model predicts."
    )


@pytest.mark.parametrize(
    ("name", "value", "least"), [("draws", 0, 1), ("draws", True, 1), ("seed", -1, 0), ("seed", 0.5, 0)]
)
def test_numbers_of_draws_and_seeds_that_are_none_are_refused(name, value, least):
    model = torch_classifier()
    assert refusal_of(model.module, model.inputs, **{name: value}) == (
        f"`{name}`: expected a whole number, {least} or more, but got {value!r}. Leave it out for the usual "
        "one."
    )


def test_each_set_of_tokens_is_run_once():
    class Counts(nn.Module):
        def __init__(self, classifier):
            super().__init__()
            self.classifier, self.runs = classifier, 0

        def forward(self, src, src_key_padding_mask=None):
            self.runs += 1
            return self.classifier(src, src_key_padding_mask)

    model = torch_classifier()
    module = Counts(model.module)
    kinds = xr.DataArray([["cls", *["word"] * (TOKENS - 1)]] * 3, dims=("sample", "token"))
    curves = removal_curves(
        module, model.inputs, scores(), token_kind=kinds.values, by="mask", steps=6, progress=False
    )
    # whole and empty, one sample without its tokens, other hidden content, and twice five sets of tokens
    assert curves.attrs["passes"] == module.runs == 2 + 1 + 1 + 10
