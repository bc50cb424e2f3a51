"""What a removal must not do is planted in models, one fault each, and found before any score is given."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.faithfulness import leave_one_out
from evidence_models import EVIDENCE, PLAIN, Evidence, kinds_of, sentence
from hand_run_models import WIDTH, torch_classifier


class Faulty(nn.Module):
    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier


class DropsMask(Faulty):
    def forward(self, src, src_key_padding_mask=None):
        return self.classifier(src)


class ReadsHidden(Faulty):
    """Tokens reach the answer beside attention."""

    def forward(self, src, src_key_padding_mask=None):
        return self.classifier(src, src_key_padding_mask) + src.mean((1, 2))[:, None] * torch.arange(5)


class MixesBatch(Faulty):
    def forward(self, src, src_key_padding_mask=None):
        logits = self.classifier(src, src_key_padding_mask)
        return logits + logits.flip(0).tanh()


class FillsUp(Faulty):
    """Shorter sequences are filled up to seven tokens."""

    def forward(self, src):
        return self.classifier(nn.functional.pad(src, (0, 0, 0, 7 - src.shape[1])))


class Blurs(Faulty):
    """Neighbors are mixed before the first layer."""

    def forward(self, src):
        return self.classifier(src + 0.5 * src.roll(1, dims=1))


class Shifts(Faulty):
    """Tokens of the encoder stand one place further than in the input."""

    def forward(self, src):
        return self.classifier(torch.cat([src[:, :1], src[:, :1] + src[:, -1:] * 0, src[:, 1:-1]], 1))


class LooksElsewhere(Faulty):
    """The first argument is no content."""

    def forward(self, unused, src):
        return self.classifier(src)


def refusal_of(module, inputs, **asked):
    with pytest.raises(clsight.CaptureError) as refusal:
        leave_one_out(module, inputs, progress=False, **asked)
    return str(refusal.value)


@pytest.mark.parametrize("fault", [DropsMask, ReadsHidden])
def test_hidden_tokens_that_reach_the_answer_are_found(fault):
    model = torch_classifier()
    message = refusal_of(fault(model.module), model.inputs, by="mask")
    change = message.partition("a change of ")[2].split(" ")[0]
    assert float(change) > 1e-4
    assert message == (
        f"`{fault.__name__}`: expected an answer that does not depend on tokens that the mask hides, but got "
        "a "
        f"change of {change} when their content changes. The mask is dropped, or tokens reach the answer on "
        'another way than attention. Remove tokens by="baseline", and see what clsight.diagnose says of the '
        "mask."
    )


def test_ids_that_reach_the_answer_are_found():
    class Peeks(Evidence):
        def forward(self, input_ids, attention_mask):
            logits = super().forward(input_ids, attention_mask)
            return logits + (input_ids == PLAIN).any(1, keepdim=True) * torch.tensor([0.0, 50.0])

    inputs = sentence([EVIDENCE, PLAIN, EVIDENCE], [EVIDENCE, 5, PLAIN])
    message = refusal_of(Peeks(), inputs, token_kind=kinds_of(inputs), by="mask")
    assert "an answer that does not depend on tokens that the mask hides" in message


@pytest.mark.parametrize("by", ["mask", "deletion", "baseline"])
def test_samples_that_change_each_other_are_found(by):
    model = torch_classifier()
    message = refusal_of(MixesBatch(model.module), model.inputs, by=by)
    assert message.startswith(
        "`MixesBatch`: expected samples that do not change each other's answers, but got a change of "
    ) or (by == "deletion" and "a forward pass that runs" in message)
    if by != "deletion":
        change = message.partition("a change of ")[2].split(" ")[0]
        assert message == (
            "`MixesBatch`: expected samples that do not change each other's answers, but got a change of "
            f"{change} in sample 2 when tokens of sample 0 are removed. The inputs may have tokens before "
            "samples, "
            "or the model may mix its batch. Pass inputs with samples first, or one sample per batch."
        )


def test_a_deletion_that_the_model_fills_up_is_found():
    model = torch_classifier()
    assert refusal_of(FillsUp(model.module), model.inputs, by="deletion") == (
        "`FillsUp`: expected 6 tokens in the encoder once one of 7 is cut out, but got 7. Remove tokens "
        'by="mask" or by="baseline".'
    )


@pytest.mark.parametrize(("fault", "token", "replaced"), [(Blurs, 5, 4), (Shifts, 5, 4)])
def test_a_baseline_that_changes_other_tokens_is_found(fault, token, replaced):
    model = torch_classifier()
    assert refusal_of(fault(model.module), model.inputs, by="baseline") == (
        f"`{fault.__name__}`: expected an input in which each token stands for itself alone, but got a "
        "change of "
        f"token {token} when token {replaced} of sample 0 is replaced. The first layers mix positions, or "
        "the "
        'tokens of the input stand elsewhere. Remove tokens by="mask", or pass a Subject, which knows where '
        "its "
        "patches are."
    )


def test_a_baseline_in_what_is_no_content_is_found():
    model = torch_classifier()
    inputs = {"unused": torch.randn(3, 7, WIDTH), "src": model.inputs["src"]}
    assert refusal_of(LooksElsewhere(model.module), inputs, by="baseline") == (
        "`LooksElsewhere`: expected a token that changes when a baseline stands for it, but got the same "
        "keys at "
        "every token in the first layer. What was replaced is no content of the sequence, or the baseline "
        "says "
        'the same. Remove tokens by="mask", or pass another baseline=.'
    )


def test_a_token_that_is_the_baseline_already_has_no_effect():
    inputs = sentence([EVIDENCE, PLAIN, PLAIN])
    effects = leave_one_out(
        Evidence(),
        inputs,
        token_kind=kinds_of(inputs),
        by="baseline",
        baseline=PLAIN,
        target=1,
        progress=False,
    )
    np.testing.assert_array_equal(effects[0, 2:], [0, 0])
    assert float(effects[0, 1]) > 0.99


def test_attention_that_cannot_be_seen_is_noted():
    class Sums(nn.Module):
        """No attention at all; the kinds are known."""

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(WIDTH, 2)

        def forward(self, x):
            return self.head(x.sum(1))

    kinds = [["cls", "word", "word", "word"]] * 2
    inputs = torch.randn(2, 4, WIDTH, generator=torch.Generator().manual_seed(0))
    effects = leave_one_out(Sums(), inputs, token_kind=kinds, by="baseline", progress=False)
    assert effects.attrs["notes"] == [
        "Where tokens stand in the input was not checked: the attention of the model could not be seen"
    ]


def test_half_precision_has_a_wider_tolerance():
    model = torch_classifier()
    module, inputs = model.module.bfloat16(), {"src": model.inputs["src"].bfloat16()}
    exact = leave_one_out(torch_classifier().module, model.inputs, by="mask", progress=False)
    effects = leave_one_out(module, inputs, by="mask", progress=False)
    np.testing.assert_allclose(effects, exact, atol=3e-2)
