"""Weights are put in random order unit by unit, from the head down, and back, bit for bit."""

import numpy as np
import pytest
import torch
from torch import nn

from clsight.faithfulness.shuffling import BEFORE, shuffling, units_of
from clsight.hooks.model_call import model_call
from hand_run_models import WIDTH, bert, torch_classifier
from module_state import state


class Embeds(nn.Module):
    """Positions and a [CLS] vector in front of a classifier; positions are read without a call."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
        self.places = nn.Parameter(torch.randn(7, WIDTH, dtype=torch.float64))
        self.project = nn.Linear(WIDTH, WIDTH).double()

    def forward(self, src):
        return self.classifier(self.project(src) + self.places)


def units_in(module, inputs, layers):
    return units_of(model_call(module, inputs), layers, seed=0)


def names_of(parameters, module):
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return {known[id(parameter)] for parameter in parameters}


def test_units_come_from_the_head_down_and_hold_every_parameter_once():
    model = torch_classifier()
    module = Embeds(model.module)
    layers = [f"classifier.encoder.layers.{layer}.self_attn" for layer in (0, 1)]
    units = units_in(module, model.inputs["src"], [name.removesuffix(".self_attn") for name in layers])
    assert [unit.name for unit in units] == [
        "classifier.head", "classifier.encoder.layers.1", "classifier.encoder.layers.0", BEFORE,
    ]  # fmt: skip
    assert names_of(units[-1].tensors, module) == {"places", "project.weight", "project.bias"}
    held = [id(tensor) for unit in units for tensor in unit.tensors]
    assert sorted(held) == sorted(map(id, module.parameters()))


def test_modules_after_the_last_layer_are_units_of_their_own():
    model = bert()
    layers = ["bert.encoder.layer.0", "bert.encoder.layer.1"]
    units = units_in(model.module, model.inputs, layers)
    assert [unit.name for unit in units] == ["classifier", "bert.pooler.dense", *layers[::-1], BEFORE]


def test_repeated_calls_of_one_layer_are_one_unit():
    model = torch_classifier()
    layers = ["encoder.layers.0#1", "encoder.layers.0#2", "encoder.layers.1"]
    names = [unit.name for unit in units_in(model.module, model.inputs, layers)]
    assert names == ["head", "encoder.layers.1", "encoder.layers.0"]


def test_a_shuffled_tensor_keeps_its_entries_and_all_others_stay():
    model = torch_classifier()
    layers = ["encoder.layers.0", "encoder.layers.1"]
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with shuffling(model.module, seed=3) as shuffle:
        shuffle(units_in(model.module, model.inputs, layers)[1])
        for name, value in model.module.state_dict().items():
            inside = name.startswith("encoder.layers.1.")
            assert torch.equal(value, before[name]) is not inside
            assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)


def test_order_follows_the_seed():
    model = torch_classifier()
    made = []
    for seed in (3, 3, 4):
        with shuffling(model.module, seed) as shuffle:
            shuffle(units_in(model.module, model.inputs, ["encoder.layers.0"])[0])
            made.append(model.module.head.weight.detach().clone())
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_shared_weights_are_shuffled_once():
    model = torch_classifier()
    module = model.module
    module.encoder.layers[1].linear1.weight = module.encoder.layers[0].linear1.weight
    units = units_in(module, model.inputs, ["encoder.layers.0", "encoder.layers.1"])
    with shuffling(module, seed=0) as shuffle:
        shuffle(units[1])
        once = module.encoder.layers[0].linear1.weight.detach().clone()
        shuffle(units[2])
        assert torch.equal(module.encoder.layers[0].linear1.weight, once)


def test_weights_are_back_afterwards_even_after_an_error():
    model = torch_classifier()
    before = state(model.module)
    units = units_in(model.module, model.inputs, ["encoder.layers.0", "encoder.layers.1"])

    def fails():
        with shuffling(model.module, seed=0) as shuffle:
            for unit in units:
                shuffle(unit)
            assert state(model.module) != before
            raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        fails()
    assert state(model.module) == before


def test_buffers_and_whole_numbers_stay():
    model = torch_classifier()
    model.module.register_buffer("fixed", torch.arange(9.0))
    units = units_in(model.module, model.inputs, ["encoder.layers.0"])
    with shuffling(model.module, seed=0) as shuffle:
        for unit in units:
            shuffle(unit)
        np.testing.assert_array_equal(model.module.fixed, np.arange(9.0))
