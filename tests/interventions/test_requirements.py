"""What no decomposition can be made of is refused in a sentence."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.interventions import (
    INTERVENTIONS,
    alti,
    attention_flow,
    chefer,
    chefer_lrp,
    direct_logit_attribution,
    effective_attention,
    globenc,
    integrated_gradients,
    logit_lens,
    norm_weighted_residual,
)
from decomposed_models import class_attention_model, torch_classifier
from encoder_builders import WIDTH, randomize

ALONE = "Ask for norm_weighted_residual, which looks at each layer alone."
OF_PAIRS = {
    alti: ALONE,
    globenc: ALONE,
    attention_flow: "Capture with keep='rollout', which needs no queries of other tokens.",
    chefer: "Capture with keep='gradient', which gives gradients of the CLS row.",
    chefer_lrp: "Capture with keep='gradient', which gives gradients of the CLS row.",
}


@pytest.mark.parametrize("measure", OF_PAIRS)
def test_keys_that_are_no_tokens_are_refused_where_all_must_ask(measure):
    module, case = torch_classifier(norm_first=True, extra_keys=True)
    with pytest.raises(clsight.CaptureError) as refused:
        measure(module, case.inputs, cls_index=1)
    assert str(refused.value) == (
        f"`{measure.__name__}`: expected layers in which every token asks and is asked, but got keys "
        f"that are no tokens (bias_k). Layer `encoder.layers.0`. {OF_PAIRS[measure]}"
    )


@pytest.mark.parametrize("measure", OF_PAIRS)
def test_class_attention_is_refused_where_all_must_ask(measure):
    with pytest.raises(clsight.CaptureError) as refused:
        measure(*class_attention_model())
    assert str(refused.value) == (
        f"`{measure.__name__}`: expected layers in which every token asks and is asked, but got CLS is the "
        "only query: the layer has no residual stream of all its tokens. Layer `blocks_token_only.0`. "
        f"{OF_PAIRS[measure]}"
    )


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (effective_attention, "an output projection, found by what it is fed"),
        (norm_weighted_residual, "an output projection and a residual sum, found by what they are fed"),
        (direct_logit_attribution, "an output projection and a residual sum, found by what they are fed"),
    ],
)
def test_class_attention_has_no_parts(measure, expected):
    with pytest.raises(clsight.CaptureError) as refused:
        measure(*class_attention_model())
    assert str(refused.value) == (
        f"`{measure.__name__}`: expected {expected}, but got none in layer `blocks_token_only.0`: CLS is the "
        "only query: the layer has no residual stream of all its tokens. Merge adapters, if the model has "
        "some, or ask for a measure that needs the record alone."
    )


def test_class_attention_has_no_sequence_to_change():
    with pytest.raises(clsight.CaptureError) as refused:
        integrated_gradients(*class_attention_model())
    assert str(refused.value) == (
        "`blocks_token_only.0`: expected a layer that takes and returns the states of its tokens, but got no "
        "sequence among what passes through it. Ask for a measure that changes no states, such as "
        "direct_logit_attribution."
    )
    with pytest.raises(clsight.CaptureError, match="`logit_lens`: expected a model with `hidden`, but got"):
        logit_lens(*class_attention_model())


class Turning(nn.Module):
    """Two layers between which all tokens but CLS turn round."""

    def __init__(self):
        super().__init__()
        make = nn.TransformerEncoderLayer
        self.layers = nn.ModuleList(make(WIDTH, 4, 40, batch_first=True) for _ in range(2))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x):
        x = self.layers[0](x)
        x = torch.cat([x[:, :1], x[:, 1:].flip(1)], dim=1)
        return self.head(self.layers[1](x)[:, 0])


@pytest.mark.parametrize("measure", [alti, globenc])
def test_tokens_that_move_between_layers_are_refused(measure):
    module, x = randomize(Turning()), torch.randn(2, 5, WIDTH)
    with pytest.raises(clsight.CaptureError) as refused:
        measure(module, x)
    assert str(refused.value) == (
        f"`{measure.__name__}`: expected layers that hand on their tokens unchanged, but got another state "
        f"in what enters `layers.1` than in what leaves `layers.0`. {ALONE}"
    )
    found = direct_logit_attribution(module, x)  # the stream of CLS is as it was
    assert float(found.completeness_error.max()) < 1e-6


@pytest.mark.parametrize("measure", [chefer, chefer_lrp, attention_flow])
def test_what_multiplies_weights_of_layers_needs_tokens_in_their_places(measure):
    module, x = randomize(Turning()), torch.randn(2, 5, WIDTH)
    with pytest.raises(clsight.CaptureError) as refused:
        measure(module, x)
    assert str(refused.value) == (
        f"`{measure.__name__}`: expected layers whose tokens keep their places, but got tokens in `layers.1` "
        "that stood elsewhere in `layers.0`. Look at each layer alone: no attribution through layers holds "
        "for this model."
    )


@pytest.mark.parametrize("measure", [chefer, chefer_lrp, attention_flow])
def test_tokens_that_change_in_their_places_are_not_taken_for_moved(measure):
    """Positions are added again before the second layer; and all tokens but one are the same."""

    class Again(Turning):
        def forward(self, x):
            x = self.layers[0](x)
            return self.head(self.layers[1](x + torch.arange(float(x.shape[1]))[:, None])[:, 0])

    x = torch.randn(2, 5, WIDTH)
    for inputs in (x, torch.cat([x[:, :1], x[:, 1:2].expand(-1, 4, -1)], dim=1)):
        found = measure(randomize(Again()), inputs)
        assert bool(found[measure.__name__].notnull().all())


@pytest.mark.parametrize("measure", [chefer, chefer_lrp, direct_logit_attribution, integrated_gradients])
def test_gradients_are_computed_under_no_grad_and_refused_in_inference_mode(measure):
    module, case = torch_classifier(norm_first=True)
    with torch.no_grad():
        quiet = measure(module, case.inputs, cls_index=1)
    for name, variable in measure(module, case.inputs, cls_index=1).data_vars.items():
        np.testing.assert_array_equal(quiet[name], variable)
    with torch.inference_mode(), pytest.raises(clsight.CaptureError) as refused:
        measure(module, case.inputs, cls_index=1)
    assert str(refused.value) == (
        "`torch.inference_mode`: expected a place where gradients can be computed, but got a call inside "
        "torch.inference_mode(). Call it outside that block; torch.no_grad() does no harm."
    )


@pytest.mark.parametrize(
    "name", [name for name in INTERVENTIONS if name not in ("knockout", "value_zeroing")]
)
def test_model_is_left_in_its_own_mode_with_no_hook_and_no_gradient(name):
    module, case = torch_classifier(norm_first=True)
    module.train()
    module.encoder.layers[0].eval()
    modes = [part.training for part in module.modules()]
    INTERVENTIONS[name].function(module, case.inputs, cls_index=1)
    assert [part.training for part in module.modules()] == modes
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
