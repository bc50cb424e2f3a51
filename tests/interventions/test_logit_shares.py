"""Direct logit attribution, against loops with the frozen norms as matrices; complete for linear readouts."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import reference_decompositions as reference
from clsight.interventions import direct_logit_attribution, logit_shares
from decomposed_models import Classifier, model, torch_classifier, torch_model, without_padding
from encoder_builders import SAMPLES, WIDTH, randomize

CLASSES = [2, 0, 1]
TERMS = ("attention", "attention_bias", "feed_forward", "norm_bias", "entering", "final_norm_bias", "rest")


def total(found):
    """Return the sum of all terms, [sample]."""
    return sum(found[name].sum([dim for dim in found[name].dims if dim != "sample"]) for name in TERMS)


def check(found, case, gradients):
    """Compare with the loops, from the gradient of each sample at the state behind the last layer."""
    assert float(found.completeness_error.max()) < 1e-14
    for sample, layers in enumerate(case.samples):
        terms, entering = reference.direct_terms(case.blocks, layers, gradients[sample], case.cls_index)
        here = found.isel(sample=sample)
        np.testing.assert_allclose(here.entering, entering, atol=1e-11)
        for layer, expected in enumerate(terms):
            for name, values in expected.items():
                if name == "attention":
                    assert not values[..., ~case.mask[sample]].any()
                    values = without_padding(values, case.mask[sample])  # noqa: PLW2901
                np.testing.assert_allclose(here[name].isel(layer=layer), values, atol=1e-11)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("final_norm", "extra_keys"), [(False, False), (True, False), (True, True)])
def test_attribution_to_a_linear_readout_equals_loops_and_is_complete(norm_first, final_norm, extra_keys):
    module, case = torch_classifier(norm_first=norm_first, final_norm=final_norm, extra_keys=extra_keys)
    found = direct_logit_attribution(module, case.inputs, target=CLASSES, cls_index=1)
    logits = module(**case.inputs).detach().numpy()[range(SAMPLES), CLASSES]
    np.testing.assert_allclose(found.target, logits, atol=1e-12)
    np.testing.assert_allclose(total(found), logits, atol=1e-12)
    head = module.head.weight.detach().numpy()[CLASSES]
    np.testing.assert_allclose(found.rest, module.head.bias.detach().numpy()[CLASSES], atol=1e-12)
    gradients = head
    if final_norm:
        norm = reference.norm(module.norm)
        gradients = [
            reference.frozen(norm, layers[-1].after_2[1]).T @ row
            for row, layers in zip(head, case.samples, strict=True)
        ]
        np.testing.assert_allclose(found.final_norm_bias, head @ norm[1], atol=1e-12)
    else:
        assert not found.final_norm_bias.any()
    check(found, case, gradients)


def test_attribution_in_a_vision_transformer_is_complete_and_equals_loops():
    case = model("ViT, not fused, LayerScale")
    found = direct_logit_attribution(case.module, case.inputs, target=CLASSES)
    logits = case.module(**case.inputs).detach().numpy()[range(SAMPLES), CLASSES]
    np.testing.assert_allclose(total(found), logits, atol=1e-12)
    np.testing.assert_allclose(found.rest, case.module.head.bias.detach().numpy()[CLASSES], atol=1e-12)
    norm, head = reference.norm(case.module.norm), case.module.head.weight.detach().numpy()[CLASSES]
    gradients = [
        reference.frozen(norm, layers[-1].after_2[0]).T @ row
        for row, layers in zip(head, case.samples, strict=True)
    ]
    check(found, case, gradients)


def test_attribution_through_a_pooler_is_first_order_with_the_difference_in_the_rest():
    case = model("BERT")
    found = direct_logit_attribution(case.module, case.inputs, target=CLASSES)
    logits = case.module(**case.inputs).logits.detach().numpy()[range(SAMPLES), CLASSES]
    np.testing.assert_allclose(total(found), logits, atol=1e-12)
    pooler, head = reference.linear(case.module.bert.pooler.dense), reference.linear(case.module.classifier)
    gradients = []
    for sample, layers in enumerate(case.samples):
        pooled = np.tanh(reference.apply(layers[-1].after_2[0], pooler))
        gradients.append(pooler[0].T @ ((1 - pooled**2) * head[0][CLASSES[sample]]))
        state = layers[-1].after_2[0]
        np.testing.assert_allclose(found.rest[sample], logits[sample] - gradients[-1] @ state, atol=1e-11)
    check(found, case, gradients)


def test_readout_of_all_tokens_has_the_others_in_the_rest():
    class Averaging(nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.encoder, self.head = encoder, randomize(nn.Linear(WIDTH, 3)).double()

        def forward(self, **inputs):
            return self.head(self.encoder(**inputs).mean(1))

    case = torch_model(norm_first=True)
    module = Averaging(case.module).eval()
    found = direct_logit_attribution(module, case.inputs, target=CLASSES)
    head, tokens = module.head.weight.detach().numpy()[CLASSES], case.mask.shape[1]
    check(found, case, head / tokens)
    logits = module(**case.inputs).detach().numpy()[range(SAMPLES), CLASSES]
    np.testing.assert_allclose(total(found), logits, atol=1e-12)


def test_terms_that_do_not_sum_to_the_target_are_refused(monkeypatch):
    rows = logit_shares.weight_rows
    monkeypatch.setattr(logit_shares, "weight_rows", lambda *given: rows(*given) * 1.001)
    module, case = torch_classifier(norm_first=False)
    with pytest.raises(clsight.CaptureError) as refused:
        direct_logit_attribution(module, case.inputs, cls_index=1)
    start = (
        "`direct_logit_attribution`: expected terms that sum to the target within 6e-14 of their sizes, but"
    )
    assert str(refused.value).startswith(start)
    assert str(refused.value).endswith(
        "Along the residual stream the model does something that was not seen. "
        "Ask for norm_weighted_residual, which looks at each layer alone."
    )


def test_target_that_is_not_read_off_cls_is_refused():
    case = torch_model(norm_first=False)
    module = Classifier(case.module, 0, final_norm=False).double().eval()
    with pytest.raises(
        clsight.CaptureError, match="expected a target that is read off what leaves the last layer"
    ):
        direct_logit_attribution(
            module, case.inputs, target=lambda logits: torch.zeros(SAMPLES, requires_grad=True)
        )


def test_stream_that_is_changed_between_layers_is_refused():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            make = nn.TransformerEncoderLayer
            self.layers = nn.ModuleList(make(WIDTH, 4, 40, batch_first=True) for _ in range(2))
            self.head = nn.Linear(WIDTH, 3)

        def forward(self, x):
            return self.head(self.layers[1](self.layers[0](x) + 1)[:, 0])

    with pytest.raises(clsight.CaptureError) as refused:
        direct_logit_attribution(randomize(Shifted()), torch.randn(2, 5, WIDTH))
    assert str(refused.value) == (
        "`direct_logit_attribution`: expected layers that hand on CLS unchanged, but got another state in "
        "what enters `layers.1` than in what leaves `layers.0`. Ask for norm_weighted_residual, which looks "
        "at each layer alone."
    )
