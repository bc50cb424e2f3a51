"""Integrated gradients by Captum, against Gauss-Legendre by hand."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight.interventions import integrated_gradients
from decomposed_models import entering, model, torch_classifier, without_padding
from encoder_builders import randomize


def vit():
    """Return a ViT, its inputs, where CLS stands, what enters its first layer, its mask, and its readout."""
    case = model("ViT")

    def readout(states):
        for block in case.module.blocks:
            states = block(states)
        return case.module.head(case.module.norm(states)[:, 0])

    states = torch.from_numpy(entering(case.module, case.module.blocks[0], case.inputs))
    return case.module, case.inputs, 0, states, case.mask, readout


def torch_encoder(*, norm_first):
    """The same of a padded torch encoder."""
    module, case = torch_classifier(norm_first=norm_first)
    padding = case.inputs["src_key_padding_mask"]

    def readout(states):
        return module(src=states, src_key_padding_mask=padding)

    return module, case.inputs, 1, case.inputs["src"], case.mask, readout


MODELS = {
    "ViT": vit,
    "torch, post-norm": lambda: torch_encoder(norm_first=False),
    "torch, pre-norm": lambda: torch_encoder(norm_first=True),
}


def by_hand(readout, states, start, classes, steps):
    """Return (x − x′) · ∫ gradient, [sample, token], and target(x) − target(x′)."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total, order = torch.zeros_like(states), torch.arange(len(states))
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        at = (start + node * (states - start)).requires_grad_()
        [gradient] = torch.autograd.grad(readout(at)[order, classes].sum(), at)
        total += weight * gradient
    with torch.no_grad():
        change = readout(states)[order, classes] - readout(start)[order, classes]
    return ((states - start) * total).sum(-1).numpy(), change.numpy()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cls_baseline", ["zeros", "mean", "kept", "vector"])
@pytest.mark.parametrize("baseline", ["zeros", "mean"])
def test_integrated_gradients_equal_a_sum_by_hand(name, cls_baseline, baseline):
    module, inputs, cls, states, mask, readout = MODELS[name]()
    classes = [1, 2, 0]
    vector = torch.linspace(-1, 1, states.shape[-1], dtype=torch.float64)
    means = torch.stack([one[torch.from_numpy(real)].mean(0) for one, real in zip(states, mask, strict=True)])
    starts = {
        "zeros": torch.zeros_like(states),
        "mean": means[:, None].expand_as(states),
        "kept": states,
        "vector": vector.expand_as(states),
    }
    start = starts[baseline].clone()
    start[:, cls] = starts[cls_baseline][:, cls]
    found = integrated_gradients(
        module,
        inputs,
        target=classes,
        cls_index=cls,
        cls_baseline=vector if cls_baseline == "vector" else cls_baseline,
        baseline=baseline,
        steps=20,
    )
    expected, change = by_hand(readout, states, start, classes, 20)
    # Captum holds the nodes and weights of the integral in float32
    held = without_padding(expected, mask)
    np.testing.assert_allclose(found.integrated_gradients, held, atol=1e-5 * np.abs(expected).max())
    gap = found.integrated_gradients.sum("token") - change
    np.testing.assert_allclose(found.completeness_gap, gap, atol=1e-10)


class Redrawn(nn.Module):
    """A classifier whose CLS is redrawn at each forward; it keeps what entered its encoder."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.entered = nn.Linear(8, 3), []

    def forward(self, x):
        self.entered.append(torch.cat([torch.randn_like(x[:, :1]), x], dim=1))
        return self.read(self.entered[-1])

    def read(self, states):
        return self.head(self.encoder(states)[:, 0])


def test_states_and_predicted_class_are_of_one_draw_of_cls():
    module = randomize(Redrawn()).double()
    torch.manual_seed(3)
    x = torch.randn(40, 4, 8, dtype=torch.float64)
    with torch.no_grad():
        of_caller = module(x)
    found = integrated_gradients(module, x, steps=2, draws=1, seed=7)
    assert len(module.entered) > 2
    for states in module.entered[1:]:
        torch.testing.assert_close(states, module.entered[1], rtol=0, atol=0)
    with torch.no_grad():
        logits = module.read(module.entered[1])
        start = module.read(torch.zeros(40, 5, 8, dtype=torch.float64))
    predicted = logits.argmax(1)
    assert (of_caller.argmax(1) != predicted).any()  # so the test can tell the draws apart
    order = torch.arange(40)
    change = found.integrated_gradients.sum("token") - found.completeness_gap
    np.testing.assert_allclose(change, logits[order, predicted] - start[order, predicted], atol=1e-10)


def test_cls_that_is_kept_in_the_baseline_gets_exactly_nothing():
    case = model("ViT")
    found = integrated_gradients(case.module, case.inputs, cls_baseline="kept", steps=4)
    assert not found.integrated_gradients.isel(token=0).any()
    assert found.integrated_gradients.isel(token=slice(1, None)).all()
    assert found.attrs["baselines"] == {"cls": "kept", "others": "zeros", "steps": 4}


def test_more_steps_close_the_gap():
    case = model("BERT")
    gaps = [
        float(abs(integrated_gradients(case.module, case.inputs, steps=steps).completeness_gap).max())
        for steps in (3, 60)
    ]
    assert gaps[1] < gaps[0] / 10


def test_padding_has_no_number_and_takes_nothing_from_the_sum():
    case = model("BERT")
    found = integrated_gradients(case.module, case.inputs, steps=3)
    np.testing.assert_array_equal(found.integrated_gradients.isnull(), ~case.mask)
    np.testing.assert_array_equal(found.token_mask, case.mask)
    total = found.integrated_gradients.sum("token") - found.completeness_gap  # what the whole integral gives
    np.testing.assert_allclose(total, found.target_change, rtol=1e-9)


def test_model_is_left_as_it_was():
    case = model("BERT")
    integrated_gradients(case.module, case.inputs, steps=3)
    assert all(parameter.grad is None for parameter in case.module.parameters())
    assert not case.module.bert.encoder.layer[0]._forward_pre_hooks


def test_target_by_default_is_the_class_predicted_on_the_input():
    case = model("BERT")
    predicted = case.module(**case.inputs).logits.argmax(1).tolist()
    found = integrated_gradients(case.module, case.inputs, steps=3)
    named = integrated_gradients(case.module, case.inputs, target=predicted, steps=3)
    np.testing.assert_array_equal(found.integrated_gradients, named.integrated_gradients)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (
            "zero",
            "`cls_baseline`: expected zeros, mean, kept, or a tensor, but got 'zero'. Did you mean `zeros`?",
        ),
        (
            np.zeros(24),
            "`cls_baseline`: expected zeros, mean, kept, or a tensor, but got an object of type ndarray. "
            "Pass one vector as a tensor: torch.as_tensor(array).",
        ),
        (torch.zeros(3), "`cls_baseline`: expected a tensor of shape (channel=24), but got shape (3,)."),
    ],
)
def test_baseline_that_does_not_fit_is_refused(baseline, message):
    case = model("ViT")
    with pytest.raises(clsight.CaptureError) as refused:
        integrated_gradients(case.module, case.inputs, cls_baseline=baseline, steps=2)
    assert str(refused.value).startswith(message)


def test_missing_captum_gives_the_command(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    case = model("ViT")
    with pytest.raises(clsight.CheckpointError, match=r"Run pip install 'clsight\[captum\]'"):
        integrated_gradients(case.module, case.inputs)


class Steep(nn.Module):
    """Pre-norm without a position: from zeros the norm makes the integrand steep at the start."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(x)[:, 0])


def test_steps_are_doubled_until_the_gap_is_closed():
    torch.manual_seed(0)
    module, x = randomize(Steep()).double(), torch.randn(3, 5, 8, dtype=torch.float64)
    first = integrated_gradients(module, x, steps=50)
    assert float(abs(first.completeness_gap / first.target_change).max()) > 0.02
    far = int((abs(first.completeness_gap / first.target_change) > 0.02).sum())
    assert first.attrs["notes"] == [
        f"the completeness gap of {far} of 3 samples is over 2 % of the target's change"
    ]
    found = integrated_gradients(module, x)
    assert found.attrs["baselines"]["steps"] in (100, 200, 400, 800, 1600)
    assert float(abs(found.completeness_gap / found.target_change).max()) <= 0.02
    assert not found.attrs.get("notes")
    zeros = torch.zeros_like(x)
    classes = module(x).argmax(1)
    change = (module(x) - module(zeros))[torch.arange(3), classes].detach()
    np.testing.assert_allclose(found.target_change, change, atol=1e-10)


@pytest.mark.parametrize("steps", [0, 2.5, True, "50"])
def test_a_count_of_steps_that_is_none_is_refused(steps):
    case = model("ViT")
    with pytest.raises(clsight.CaptureError) as refused:
        integrated_gradients(case.module, case.inputs, steps=steps)
    assert str(refused.value) == (
        "`integrated_gradients`: expected `steps` as a whole number, 1 or more, but got "
        f"{steps!r}. Leave it out to take as many as it needs."
    )
