"""Chefer's rule, against dense weights and their gradients by autograd in models that write them out."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import reference_decompositions as reference
from clsight.interventions import chefer, direct_logit_attribution, integrated_gradients
from decomposed_models import model, torch_classifier, without_padding
from dense_gradients import dense_bert, dense_torch, dense_vit


@pytest.mark.parametrize("norm_first", [False, True])
def test_relevance_in_a_torch_encoder_equals_dense_weights_and_gradients(norm_first):
    (module, case), classes = torch_classifier(norm_first=norm_first), [2, 0, 1]
    weights, gradients = dense_torch(module, case.inputs, case.mask, classes)
    found = chefer(module, case.inputs, target=classes, cls_index=1)
    for sample in range(3):
        layers = ([one[sample] for one in many] for many in (weights, gradients))
        expected = reference.chefer_row(*layers, 1)
        assert not expected[~case.mask[sample]].any()
        held = without_padding(expected, case.mask[sample])
        np.testing.assert_allclose(found.chefer[sample], held, atol=1e-12)


def test_block_size_does_not_change_relevance(monkeypatch):
    case = model("BERT")
    whole = chefer(case.module, case.inputs).chefer
    monkeypatch.setattr("clsight.hooks.scores._BLOCK_BYTES", 1)
    np.testing.assert_allclose(chefer(case.module, case.inputs).chefer, whole, atol=1e-14)


DENSE = {"BERT, eager": dense_bert, "ViT, not fused, LayerScale": dense_vit}


@pytest.mark.parametrize(
    ("name", "dense"),
    [("BERT, eager", "BERT, eager"), ("BERT", "BERT, eager"), ("ViT, not fused, LayerScale",) * 2],
)
def test_relevance_equals_dense_weights_and_gradients(name, dense):
    case, classes = model(name), [2, 0, 1]
    weights, gradients = DENSE[dense](model(dense), classes)
    found = chefer(case.module, case.inputs, target=classes)
    for sample in range(3):
        layers = ([one[sample] for one in many] for many in (weights, gradients))
        expected = reference.chefer_row(*layers, 0)
        mask = case.mask[sample]
        np.testing.assert_allclose(found.chefer[sample], without_padding(expected, mask), atol=1e-12)
        assert float(found.chefer[sample, 0]) >= 1  # the entry of CLS is kept
        assert not expected[~mask].any()
        for layer in range(len(weights)):
            evidence = np.maximum(weights[layer][sample, :, 0] * gradients[layer][sample, :, 0], 0).mean(0)
            held = without_padding(evidence, mask)
            np.testing.assert_allclose(found.chefer_layer[sample, layer], held, atol=1e-13)


def test_target_by_default_is_the_predicted_class():
    case = model("BERT")
    predicted = case.module(**case.inputs).logits.argmax(1).tolist()
    found, named = chefer(case.module, case.inputs), chefer(case.module, case.inputs, target=predicted)
    np.testing.assert_array_equal(found.chefer, named.chefer)
    assert found.attrs["variant"] == "ICCV 2021; CLS entry kept"


def test_relevance_needs_no_parameter_that_requires_a_gradient_and_leaves_none():
    case = model("BERT")
    before = chefer(case.module, case.inputs).chefer
    required = [parameter.requires_grad for parameter in case.module.parameters()]
    try:
        case.module.requires_grad_(False)
        after = chefer(case.module, case.inputs).chefer
    finally:
        for parameter, required_before in zip(case.module.parameters(), required, strict=True):
            parameter.requires_grad_(required_before)
    np.testing.assert_allclose(after, before, atol=1e-14)
    assert all(parameter.grad is None for parameter in case.module.parameters())


def test_target_that_does_not_reach_the_layers_is_refused():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.attention(x, x, x)[0][:, 0].detach())

    with pytest.raises(clsight.CaptureError) as refused:
        chefer(Detached(), torch.randn(2, 5, 8))
    assert str(refused.value) == (
        "`target`: expected a target that depends on every layer's attention through a graph, but got one "
        "that layer `attention` does not reach. Choose a target that the answer is read off, and run without "
        "no_grad inside."
    )


@pytest.mark.parametrize("target", ["seven", 1.5, [1, 2], [[0, 1, 2]], True, 3, -1, [0, 1, 3]])
@pytest.mark.parametrize("method", [chefer, direct_logit_attribution, integrated_gradients])
def test_target_that_is_no_class_of_the_model_is_refused(method, target):
    case = model("BERT")
    with pytest.raises(clsight.CaptureError) as refused:
        method(case.module, case.inputs, target=target)
    assert str(refused.value) == (
        "`target`: expected a class between 0 and 2, for all or for each of 3 samples, but got "
        f"{target!r}. Pass one class index, one per sample, or a function of the module's output."
    )


def test_target_may_be_a_number_of_any_whole_type():
    case = model("BERT")
    expected = chefer(case.module, case.inputs, target=1).chefer
    for target in (np.int64(1), torch.tensor(1, dtype=torch.int32), np.array([1, 1, 1]), [1]):
        np.testing.assert_array_equal(chefer(case.module, case.inputs, target=target).chefer, expected)
