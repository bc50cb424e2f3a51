"""Chefer's rule of CVPR 2021, against loops over every product, and what holds of it in any model."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import clsight
import reference_relevance as reference
from clsight.hooks.calls import with_tensors
from clsight.interventions import chefer_lrp
from clsight.interventions.opening import open_model
from clsight.interventions.relevance_mode import RelevanceMode
from clsight.interventions.relevance_samples import Samples
from decomposed_models import model, torch_classifier, vit_model, without_padding
from dense_gradients import dense_bert, dense_torch, dense_vit
from encoder_builders import randomize
from module_state import state
from reference_decompositions import array
from relevance_peers import CLASSES as PEER_CLASSES
from relevance_peers import numbers, peer_bert, peer_vit

CLASSES = [2, 0, 1]
EXACT = dict(rtol=1e-6, atol=1e-9)
"""Where products of states cancel to nearly nothing, the 1e-9 in the rules magnifies rounding."""


def of_head(case, head, read, chosen):
    """Return the relevance of what a linear head read of CLS, from 1 at the chosen class: [in]."""
    one_hot = np.eye(len(head.weight))[[chosen]]
    return reference.of_linear(one_hot, read[None], array(head.weight))[0]


def compared(found, case, gradients, of_read, *, scaled=True):
    """Compare with the reference: all samples, CLS, whole and per layer.

    Args:
        found: Of `chefer_lrp`.
        case: The model, as decomposed.
        gradients: [layer][sample, head, query, key].
        of_read: From sample and its pieces to the relevance of CLS as it leaves the last layer, [channel].
        scaled: As for the reference.
    """
    for sample, layers in enumerate(case.samples):
        cls = found.attrs["cls_index"]
        leaving = np.zeros_like(layers[-1].after_2)
        leaving[cls] = of_read(sample, layers[-1].after_2[cls])
        routes = reference.routes(case.blocks, layers, leaving, scaled=scaled)
        row, of_layers = reference.chefer_lrp_rows(routes, [one[sample] for one in gradients], cls)
        mask = case.mask[sample]
        assert not row[~mask].any()
        np.testing.assert_allclose(found.chefer_lrp[sample], without_padding(row, mask), **EXACT)
        held = without_padding(of_layers, mask)
        np.testing.assert_allclose(found.chefer_lrp_layer[sample], held, **EXACT)
        assert of_layers.max() > 1e-4


@pytest.mark.parametrize("norm_first", [False, True])
def test_relevance_in_a_torch_encoder_equals_loops(norm_first):
    module, case = torch_classifier(norm_first=norm_first)
    _, gradients = dense_torch(module, case.inputs, case.mask, CLASSES)

    def of_read(sample, state):
        normed = module.norm(torch.from_numpy(state)).detach().numpy()
        return of_head(case, module.head, normed, CLASSES[sample])

    found = chefer_lrp(module, case.inputs, target=CLASSES, cls_index=1)
    compared(found, case, gradients, of_read)


@pytest.mark.parametrize(("name", "scaled"), [("BERT", True), ("BERT, eager", False)])
def test_relevance_in_bert_equals_loops(name, scaled):
    case = model(name)
    _, gradients = dense_bert(model("BERT, eager"), CLASSES)
    pooler = case.module.bert.pooler.dense

    def of_read(sample, state):
        pooled = torch.tanh(pooler(torch.from_numpy(state))).detach().numpy()
        of_pooled = of_head(case, case.module.classifier, pooled, CLASSES[sample])
        return reference.of_linear(of_pooled[None], state[None], array(pooler.weight))[0]

    found = chefer_lrp(case.module, case.inputs, target=CLASSES)
    compared(found, case, gradients, of_read, scaled=scaled)


@pytest.mark.parametrize("fused", [True, False])
def test_relevance_in_a_vit_equals_loops(fused):
    case, written_out = vit_model(fused=fused), vit_model(fused=False)
    _, gradients = dense_vit(written_out, CLASSES)

    def of_read(sample, state):
        normed = case.module.norm(torch.from_numpy(state)).detach().numpy()
        return of_head(case, case.module.head, normed, CLASSES[sample])

    found = chefer_lrp(case.module, case.inputs, target=CLASSES)
    compared(found, case, gradients, of_read)


@pytest.mark.parametrize(("name", "build"), [("vit", peer_vit), ("bert", peer_bert)])
def test_relevance_is_that_of_the_authors_code(name, build):
    """Their numbers, from `benchmarks/chefer_lrp.py`; CLS's own entry is none of them."""
    module, inputs = build()
    found = chefer_lrp(module, inputs, target=PEER_CLASSES).chefer_lrp[:, 1:]
    for row, expected in zip(found.fillna(0).values, numbers()[name], strict=True):  # theirs at padding is 0
        assert max(expected) > 1e-3
        # They divide and multiply by each state that is copied, with 1e-9 beside it: up to 7e-7 measured.
        np.testing.assert_allclose(row[: len(expected)], expected, rtol=0, atol=1e-6 * max(expected))


def relevance_of_entering(module, inputs, entering, *, cls_index=0):
    """Return the relevance of what enters a part of a model, [sample, token, channel], by the rules."""
    rules, seen = RelevanceMode(module), []
    handle = entering.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with handle, rules:
        opened = open_model(module, inputs, cls_index=cls_index, graph=True)
    target = opened.logits[torch.arange(3), torch.tensor(CLASSES)].sum()
    samples = Samples(3, seen[0].shape[1], lambda: "sample, token", asked_by="test")
    with rules.asking_for(samples):
        return torch.autograd.grad(target, seen[0])[0]


def first_layer(module):
    for name in ("encoder.layers.0", "bert.encoder.layer.0", "blocks.0"):
        if name in dict(module.named_modules()):
            return module.get_submodule(name)
    raise AssertionError


@pytest.mark.parametrize("name", ["torch, post-norm", "torch, pre-norm", "BERT", "BERT, eager", "ViT"])
def test_relevance_of_what_enters_the_first_layer_is_that_of_the_target(name):
    """The rules lose none, but in the 1e-9 beside nothing and where no product is positive."""
    if name.startswith("torch"):
        module, case = torch_classifier(norm_first="pre" in name)
        module.encoder.layers[0].register_forward_pre_hook(
            lambda _, args: (args[0].clone().requires_grad_(), *args[1:])
        )
    else:
        case = model(name)
        module = case.module
    found = relevance_of_entering(module, case.inputs, first_layer(module), cls_index=case.cls_index)
    np.testing.assert_allclose(found.sum((1, 2)), 1.0, rtol=1e-5)
    assert float(found.abs().sum()) > 1.5  # of both signs


@pytest.mark.parametrize(
    "name", ["torch, post-norm, token first", "torch, pre-norm, token first", "BERT", "ViT"]
)
def test_batch_gives_what_each_sample_gives_alone(name):
    case, read = model(name), {}
    if "torch" in name:
        read = dict(target=lambda states: states[0, :, 3])
    together = chefer_lrp(case.module, case.inputs, **read).chefer_lrp
    for sample in range(3):
        one = {
            key: given[:, [sample]] if key == "src" else given[[sample]] for key, given in case.inputs.items()
        }
        alone = chefer_lrp(case.module, one, **read).chefer_lrp
        np.testing.assert_allclose(together[sample], alone[0], rtol=1e-9)


def test_as_many_samples_as_tokens_are_told_apart_by_the_order_in_the_model():
    for batch_first in (True, False):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        module = randomize(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)).double()
        x = torch.randn(4, 4, 8, dtype=torch.float64)
        read = dict(target=lambda states, first=batch_first: states[:, 0, 3] if first else states[0, :, 3])
        together = chefer_lrp(module, x if batch_first else x.transpose(0, 1), **read).chefer_lrp
        for sample in range(4):
            one = x[[sample]]
            alone = chefer_lrp(module, one if batch_first else one.transpose(0, 1), **read).chefer_lrp
            np.testing.assert_allclose(together[sample], alone[0], rtol=1e-9)


def test_grouped_queries_give_what_repeated_keys_give():
    class Grouped(nn.Module):
        def __init__(self, *, repeats):
            super().__init__()
            self.project = nn.ModuleList(nn.Linear(12, 12 + 6 + 6) for _ in range(2))
            self.head, self.repeats = nn.Linear(12, 3), repeats

        def forward(self, x):
            for project in self.project:
                query, key, value = (
                    one.unflatten(-1, (-1, 3)).transpose(1, 2) for one in project(x).split([12, 6, 6], -1)
                )
                if self.repeats:
                    key, value = (one.repeat_interleave(2, dim=1) for one in (key, value))
                attend = nn.functional.scaled_dot_product_attention
                causal = torch.ones(5, 5, dtype=torch.bool).tril()
                how = dict(attn_mask=causal) if self.repeats else dict(is_causal=True, enable_gqa=True)
                mixed = attend(query, key, value, **how)
                x = x + mixed.transpose(1, 2).flatten(2)
            return self.head(x[:, -1])

    grouped, repeated = (randomize(Grouped(repeats=repeats)).double() for repeats in (False, True))
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    found, expected = (chefer_lrp(one, x, cls_index=-1).chefer_lrp for one in (grouped, repeated))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert float(found[:, :4].min()) >= 0 < float(found[:, :4].max())


def test_positive_factor_per_channel_is_like_a_larger_weight():
    """A factor (LayerScale) passes relevance on, and a linear map hands it down by shares."""
    scaled, plain = (vit_model(fused=False, **options).module for options in ({"init_values": 0.1}, {}))
    weights = scaled.state_dict()
    for name in [name for name in weights if name.endswith("gamma")]:
        gamma = weights.pop(name).abs_().add_(0.05)  # the module's own, changed in place
        part = name.replace("ls1.gamma", "attn.proj.").replace("ls2.gamma", "mlp.fc2.")
        weights[part + "weight"] = gamma[:, None] * weights[part + "weight"]
        weights[part + "bias"] = gamma * weights[part + "bias"]
    plain.load_state_dict(weights)
    x = model("ViT").inputs
    np.testing.assert_allclose(chefer_lrp(scaled, x).chefer_lrp, chefer_lrp(plain, x).chefer_lrp, **EXACT)


def test_class_can_be_named_and_is_the_predicted_one_by_default():
    case = model("BERT")
    predicted = case.module(**case.inputs).logits.argmax(1).tolist()
    found, named = (chefer_lrp(case.module, case.inputs, target=target) for target in (None, predicted))
    np.testing.assert_array_equal(found.chefer_lrp, named.chefer_lrp)
    function = chefer_lrp(case.module, case.inputs, target=lambda out: out.logits[:, 1])
    np.testing.assert_array_equal(
        function.chefer_lrp, chefer_lrp(case.module, case.inputs, target=1).chefer_lrp
    )
    assert found.attrs["variant"] == "CVPR 2021, product from the first layer; CLS entry kept"


def test_weights_that_need_no_gradient_change_nothing():
    for name in ("BERT", "BERT, eager", "ViT"):
        case = model(name)
        before = chefer_lrp(case.module, case.inputs).chefer_lrp
        try:
            case.module.requires_grad_(False)
            after = chefer_lrp(case.module, case.inputs).chefer_lrp
        finally:
            model.cache_clear()
        np.testing.assert_allclose(after, before, rtol=1e-12)


def test_module_is_left_as_it_was():
    module, case = torch_classifier(norm_first=True)
    module.train()
    before = state(module)
    chefer_lrp(module, case.inputs, cls_index=1)
    assert state(module) == before
    assert all(parameter.grad is None for parameter in module.parameters())
    with pytest.raises(clsight.CaptureError, match="at most 8 tokens"):
        chefer_lrp(module, case.inputs, cls_index=1, max_tokens=8)
    assert state(module) == before


class Gated(nn.Module):
    """Two layers whose attention is multiplied with a gate, or changed in place."""

    def __init__(self, *, gate, in_place=False):
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(8, 24) for _ in range(2))
        self.gate, self.head, self.in_place = nn.Linear(8, 8), nn.Linear(8, 3), in_place
        self.is_gated = gate

    def forward(self, x):
        for project in self.project:
            query, key, value = (one.unflatten(-1, (2, 4)).transpose(1, 2) for one in project(x).chunk(3, -1))
            mixed = (query @ key.mT / 2).softmax(-1) @ value
            if self.in_place:
                mixed.mul_(2)
            mixed = mixed.transpose(1, 2).flatten(2)
            x = x + (mixed * self.gate(x).sigmoid() if self.is_gated else mixed)
        return self.head(x[:, 0])


def test_gate_is_refused_by_the_name_of_its_operation():
    with pytest.raises(clsight.CaptureError) as refused:
        chefer_lrp(Gated(gate=True), torch.randn(2, 5, 8))
    assert str(refused.value) == (
        "`chefer_lrp`: expected operations with a rule for relevance, from the first layer to the target, "
        "but got `mul`. Ask for chefer, which needs gradients alone."
    )
    assert bool(chefer_lrp(Gated(gate=False), torch.randn(2, 5, 8)).chefer_lrp.notnull().all())


def test_attention_whose_result_is_changed_in_place_is_refused():
    with pytest.raises(clsight.CaptureError) as refused:
        chefer_lrp(Gated(gate=False, in_place=True), torch.randn(2, 5, 8))
    assert str(refused.value) == (
        "`#0`: expected values that stay as they were until the pass has ended, but got some that were "
        "changed in place. Ask for chefer, which needs gradients alone."
    )


def test_operation_of_the_targets_own_is_refused_too():
    case = model("BERT")
    with pytest.raises(clsight.CaptureError, match="but got `pow`"):
        chefer_lrp(case.module, case.inputs, target=lambda out: out.logits[:, 1].square())


def test_sequence_that_is_too_long_is_refused():
    case = model("BERT")
    with pytest.raises(clsight.CaptureError) as refused:
        chefer_lrp(case.module, case.inputs, max_tokens=8)
    assert str(refused.value) == (
        "`chefer_lrp`: expected at most 8 tokens, as its cost grows with their square, but got 9. Pass "
        "shorter inputs, or max_tokens=9 if you have the time and memory."
    )


def test_relevance_in_float32_is_close_to_that_in_float64():
    """Measured: 4e-4 of the largest; products of states that nearly cancel magnify rounding."""
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    given = subject.prepare(subject.examples[:4]).inputs
    exact = copy.deepcopy(subject.module).double()
    found = chefer_lrp(subject.module, given).chefer_lrp[:, 1:]
    expected = chefer_lrp(exact, with_tensors(given, torch.Tensor.double)).chefer_lrp[:, 1:]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * float(expected.max()))


def test_relevance_under_autocast_ranks_tokens_alike():
    """The model's own operations round to 8 bits there; the rules compute in float32."""
    module, case = torch_classifier(norm_first=True)
    single = {"src": case.inputs["src"].float(), "src_key_padding_mask": case.inputs["src_key_padding_mask"]}
    plain = chefer_lrp(module.float(), single, cls_index=1).chefer_lrp
    with torch.autocast("cpu", torch.bfloat16):
        found = chefer_lrp(module, single, cls_index=1).chefer_lrp
    for sample, real in enumerate(case.mask):
        assert spearmanr(found[sample, real], plain[sample, real])[0] >= 0.9  # 0.95 measured
    np.testing.assert_array_equal(found.isnull(), ~case.mask)


def test_cls_that_is_drawn_anew_is_drawn_once_for_gradient_and_relevance():
    """Both come from one forward pass."""
    subject = clsight.load(clsight.sample_models_dir() / "digits-random-per-forward")
    calls = []
    handle = subject.module.register_forward_hook(lambda *_: calls.append(1))
    with handle:
        chefer_lrp(subject, subject.examples[:2], draws=1)
    assert len(calls) == 1
