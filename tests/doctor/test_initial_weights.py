"""Which layers look untouched since initialization: exact constants first, then the draw of the matrices."""

import pytest
import torch
from torch import nn

import clsight
from clsight.doctor.initial_weights import _draw_of, looks_untouched
from doctor import patients
from doctor.patients import series
from trained_encoder import trained_bert


def drawn(kind, rows=40, columns=64):
    """Return a matrix as an initialization draws it."""
    torch.manual_seed(3)
    if kind == "nn.Linear":
        return nn.Linear(columns, rows).weight.detach()
    weight = torch.empty(rows, columns)
    if kind == "xavier_uniform_":
        return nn.init.xavier_uniform_(weight)
    return nn.init.normal_(weight, std=0.02)


class WithoutConstants(nn.Module):
    """A layer without norms and biases: only its matrices can tell."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.projections = nn.ModuleList(nn.Linear(32, 48, bias=False) for _ in range(3))


@pytest.mark.parametrize("kind", ["nn.Linear", "xavier_uniform_", "normal_(std=0.02)"])
def test_draw_is_recognized_and_a_little_training_is_enough_to_hide_it(kind):
    weight = drawn(kind)
    assert _draw_of(weight) == kind
    generator = torch.Generator().manual_seed(1)
    assert _draw_of(weight + 0.3 * weight.std() * torch.randn(weight.shape, generator=generator)) == ""


@pytest.mark.parametrize("norm_first", [False, True])
def test_fresh_layer_looks_untouched_and_one_moved_gain_means_trained(norm_first):
    layer = nn.TransformerEncoderLayer(12, 3, 20, norm_first=norm_first)
    assert looks_untouched(layer)
    layer.norm2.weight.data[5] += 1e-3
    assert looks_untouched(layer) == ""


def test_layer_without_constants_is_told_by_its_matrices():
    layer = WithoutConstants()
    assert looks_untouched(layer) == "every matrix is distributed as nn.Linear draws it"
    layer.projections[1].weight.data *= 1.4
    assert looks_untouched(layer) == ""


def test_layer_too_small_to_tell_is_taken_for_trained():
    assert looks_untouched(nn.Sequential(nn.Linear(4, 4, bias=False))) == ""


def test_training_for_one_step_is_seen():
    model = patients.untrained()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(series()).square().mean().backward()
    optimizer.step()
    assert [looks_untouched(layer) for layer in model.encoder.layers] == ["", ""]


@pytest.mark.parametrize("name", ["learned", "zeros", "fixed-random", "random-per-forward"])
def test_no_layer_of_a_sample_model_looks_untouched(name):
    module = clsight.load(clsight.sample_models_dir() / f"digits-{name}").module
    assert [looks_untouched(layer) for layer in module.encoder.layers] == ["", "", ""]


@pytest.mark.slow
def test_no_layer_and_no_matrix_of_a_trained_bert_looks_untouched():
    """The draws are told apart although training hardly changes the spread of a matrix."""
    layers = trained_bert()[0].encoder.layer
    assert not any(looks_untouched(layer) for layer in layers)
    matrices = [weight for layer in layers for weight in layer.parameters() if weight.dim() == 2]
    assert sum(_draw_of(weight.detach()) != "" for weight in matrices) == 0


def test_layers_with_one_equal_matrix_are_not_called_equal():
    module = patients.healthy()
    first, second = module.encoder.layers
    second.linear1.weight.data.copy_(first.linear1.weight)
    findings = clsight.diagnose(module, series())
    assert "layers_differ" not in [finding.check for finding in findings.warnings]
