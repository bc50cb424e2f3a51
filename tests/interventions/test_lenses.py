"""The logit lens of CLS, against the readout of each model called on each state by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.interventions import logit_lens
from decomposed_models import model, torch_classifier
from encoder_builders import SAMPLES, TOKENS, WIDTH, randomize


def states_of(case, sample):
    layers = case.samples[sample]
    return np.stack([layers[0].x[0], *(pieces.after_2[0] for pieces in layers)])


def test_lens_of_a_pre_norm_model_reads_through_the_final_norm():
    case = model("ViT")
    found = logit_lens(case.module, case.inputs).logit_lens
    assert found.dims == ("sample", "depth", "class")
    for sample in range(SAMPLES):
        states = torch.from_numpy(states_of(case, sample))
        expected = case.module.head(case.module.norm(states)).detach()
        np.testing.assert_allclose(found[sample], expected, atol=1e-10)


def test_lens_of_a_post_norm_model_reads_through_its_pooler():
    case = model("BERT")
    found = logit_lens(case.module, case.inputs).logit_lens
    for sample in range(SAMPLES):
        states = torch.from_numpy(states_of(case, sample))[:, None]
        expected = case.module.classifier(case.module.bert.pooler(states)).detach()
        np.testing.assert_allclose(found[sample], expected, atol=1e-10)


@pytest.mark.parametrize("norm_first", [False, True])
def test_lens_of_a_torch_encoder_reads_its_own_position_through_the_final_norm(norm_first):
    module, case = torch_classifier(norm_first=norm_first)
    found = logit_lens(module, case.inputs, cls_index=1).logit_lens
    for sample, layers in enumerate(case.samples):
        states = np.stack([layers[0].x[1], *(pieces.after_2[1] for pieces in layers)])
        expected = module.head(module.norm(torch.from_numpy(states))).detach()
        np.testing.assert_allclose(found[sample], expected, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lens_in_half_precision_ends_in_the_model_itself(dtype):
    module, case = torch_classifier(norm_first=True)
    module, inputs = copy.deepcopy(module).to(dtype), {**case.inputs, "src": case.inputs["src"].to(dtype)}
    found = logit_lens(module, inputs, cls_index=1).logit_lens
    np.testing.assert_array_equal(found[:, -1], module(**inputs).float().detach())


def test_lens_at_the_last_depth_is_the_model_itself():
    case = model("BERT, eager")
    own = case.module(**case.inputs).logits.detach()
    np.testing.assert_allclose(logit_lens(case.module, case.inputs).logit_lens[:, -1], own, atol=1e-12)


def test_other_tokens_stay_as_they_were_where_the_readout_averages():
    class Averaging(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(WIDTH, 4, 40, batch_first=False)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x):
            return self.head(self.encoder(x).mean(0))

    module = randomize(Averaging()).double()
    x = torch.randn(TOKENS, SAMPLES, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = logit_lens(module, x, cls_index=2).logit_lens
    with torch.no_grad():
        last = module.encoder(x)
        first = last.clone()
        first[2] = x[2]
        np.testing.assert_allclose(found[:, 0], module.head(first.mean(0)), atol=1e-12)
        np.testing.assert_allclose(found[:, -1], module.head(last.mean(0)), atol=1e-12)
    assert not module.encoder.layers[1]._forward_hooks


def test_model_without_logits_is_refused():
    case = model("torch, post-norm")
    with pytest.raises(clsight.CaptureError) as refused:
        logit_lens(case.module, case.inputs)
    assert str(refused.value) == (
        "`logit_lens`: expected a model with `logits`, but got the output holds no tensors of shape "
        "[sample, class], where one is expected. Pass output=, a function from the module's output to its "
        "logits."
    )


def test_subject_that_does_not_classify_is_refused_whatever_it_returns():
    module, case = torch_classifier(norm_first=True)
    subject, src = clsight.subject_of(module, cls_index=1, classifies=False), case.inputs["src"]
    with pytest.raises(clsight.CaptureError, match="`logit_lens`: expected a model with `logits`"):
        logit_lens(subject, src)
    by_hand = logit_lens(subject, src, output=lambda logits: logits)
    np.testing.assert_array_equal(by_hand.logit_lens, logit_lens(module, src, cls_index=1).logit_lens)


class Unsteady(nn.Module):
    """A readout that adds noise, or how often it has run."""

    def __init__(self, *, remembers):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head, self.remembers, self.passes = nn.Linear(8, 3), remembers, 0

    def forward(self, x):
        self.passes += 1
        logits = self.head(self.layer(x)[:, 0])
        return logits + (self.passes if self.remembers else torch.randn_like(logits))


def test_model_that_draws_behind_its_layers_draws_the_same_in_every_pass():
    model, x = randomize(Unsteady(remembers=False)), torch.randn(2, 5, 8)
    found = logit_lens(model, x, draws=4, seed=2)
    drawn = []
    for seed in range(2, 6):
        torch.manual_seed(seed)
        drawn.append(model(x).detach().numpy())
    np.testing.assert_allclose(found.logit_lens[:, -1], np.mean(drawn, axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.logit_lens_std[:, -1], np.std(drawn, axis=0, ddof=1), rtol=1e-4)


def test_model_with_a_memory_is_refused():
    with pytest.raises(clsight.CaptureError, match="expected the same logits in a second forward pass"):
        logit_lens(randomize(Unsteady(remembers=True)), torch.randn(2, 5, 8))
