"""What cannot be replaced is refused in one sentence, and nothing has changed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from clsight.cls_token import replaced
from clsight.errors import ClsightError
from clsight.loading import Examples
from clsight.loading.subject import ClsVector
from clsight.loading.vision_transformer import VisionTransformer
from encoder_builders import pixels
from replaceable_models import (
    assert_same,
    bert,
    native_vit,
    own,
    run,
    state,
    subject_of,
)

OUTSIDE = "which takes [CLS] out of the sequence. Use `zeros` to see the model with an empty [CLS]."
REFUSED = {
    "learned": "which only says where training starts. "
    "Use `fixed_random` with std=0.02 for a start like its own.",
    "learned_zeros": "which only says where training starts. Use `zeros`.",
    "learned_normal": "which only says where training starts. Use `fixed_random` with std=1.0.",
    "mean_pooling": OUTSIDE,
    "first_token": OUTSIDE,
    "random_in_training": "which is one fixed draw once a model is trained. Use `fixed_random`.",
    "input_mean": "which has to see the embedded tokens, as only models of clsight show them. "
    "Use `fixed_random` or `zeros`.",
}


@pytest.mark.parametrize("strategy", REFUSED)
def test_a_strategy_that_says_nothing_of_a_trained_model_is_refused(strategy):
    subject = native_vit()
    with pytest.raises(ClsightError) as refusal, replaced(subject, strategy):
        pass
    assert str(refusal.value) == (
        "`strategy`: expected what can enter a trained model: fixed_random, random_per_forward, zeros, "
        f"but got `{strategy}`, {REFUSED[strategy]}"
    )
    assert subject.strategy == ""


@pytest.mark.parametrize(
    ("given", "got", "step"),
    [
        (nn.Linear(2, 3), "a module, Linear", "Pass clsight.subject_of(module)"),
        ("digits-learned", "an object of type str", "Load it first: clsight.load(path)"),
    ],
    ids=["a module", "a name"],
)
def test_what_is_no_subject_is_refused(given, got, step):
    assert message(given, "zeros") == (
        "`subject`: expected what clsight.load or clsight.subject_of returns, which tells where [CLS] is, "
        f"but got {got}. {step}."
    )


def test_an_unknown_strategy_is_refused_with_the_nearest_name():
    with pytest.raises(ClsightError, match="Did you mean `zeros`"), replaced(native_vit(), "zeroes"):
        pass


def message(subject, *given, **options):
    with pytest.raises(ClsightError) as refusal, replaced(subject, *given, **options):
        run(subject)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(std=0.0), "`std`: expected a number above 0, but got 0.0. Choose another std."),
        (dict(std=float("nan")), "`std`: expected a number above 0, but got nan. Choose another std."),
        (dict(seed=-1), "`seed`: expected a whole number, 0 or more, but got -1. Choose another seed."),
        (dict(seed=True), "`seed`: expected a whole number, 0 or more, but got True. Choose another seed."),
    ],
)
def test_a_draw_that_cannot_be_is_refused(given, says):
    assert message(native_vit(), "fixed_random", **given) == says


def test_a_std_of_zeros_is_refused():
    expected = "`std`: expected no such option for `zeros`, but got std=1.0. Leave it out."
    assert message(native_vit(), "zeros", std=1.0) == expected


def test_draws_like_a_vector_without_spread_ask_for_std():
    subject = native_vit()
    with torch.no_grad():
        subject.cls_vector.tensor.zero_()
    assert message(subject, "fixed_random") == (
        "`std`: expected the standard deviation of the draws, but got none, and no spread in the "
        "trained [CLS]. State std=."
    )
    assert message(own("zeros"), "fixed_random").endswith("State std=.")


def test_a_subject_without_a_known_vector_is_refused():
    subject = replace(native_vit(), cls_vector=None)
    assert message(subject, "zeros") == (
        "`tried`: expected a model whose [CLS] vector is known, but got none. Set subject.cls_vector = "
        "clsight.ClsVector(parameter), or of a word embedding clsight.ClsVector(embedding.weight, row=id)."
    )


def test_a_vector_that_the_module_does_not_hold_is_refused():
    subject = replace(native_vit(), cls_vector=ClsVector(torch.zeros(1, 1, 24)))
    assert "but got a tensor [1, 1, 24] that is none" in message(subject, "zeros")


def test_a_row_of_what_is_no_embedding_is_refused():
    module = VisionTransformer(native_vit().module.sizes)
    subject = subject_of(module, pixels(name="images"), ClsVector(module.encoder.pos_embedding, row=0))
    assert "a row of an nn.Embedding" in message(subject, "zeros")


def test_a_model_of_clsight_without_cls_is_refused():
    assert message(own("mean_pooling"), "zeros") == (
        "`own`: expected a model with [CLS] in its sequence, but got strategy mean_pooling, without. "
        "Choose another model."
    )


def test_a_forward_pass_that_does_not_read_the_vector_is_an_error():
    subject = bert()
    subject.prepare(Examples(np.zeros((3, 1)))).inputs["input_ids"][:, 0] = 7
    before = state(subject)
    assert message(subject, "zeros").startswith(
        "`tried`: expected a forward pass that reads the vector of [CLS], but got one that does not."
    )
    assert_same(state(subject), before)


def test_a_compiled_module_is_refused():
    subject = native_vit()
    subject.module.compile(backend="eager")
    assert "a module that is not compiled" in message(subject, "zeros")
