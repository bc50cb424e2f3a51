"""Small encoders whose layers are equal, shared, left out or run several times."""

import copy

import torch
from torch import nn

from doctor.patients import HEADS, WIDTH, Healthy
from encoder_builders import randomize


def equal_layers():
    module = Healthy()
    module.encoder.layers[1] = copy.deepcopy(module.encoder.layers[0])
    return module


def equal_layers_apart():
    module = Stack([layer(), layer(), layer(), layer()])
    module.layers[2] = copy.deepcopy(module.layers[0])
    return module


def equal_layers_in_pairs():
    module = equal_layers_apart()
    module.layers[3] = copy.deepcopy(module.layers[1])
    return module


def ignored_depth():
    module = Healthy()
    module.depth = 6
    return module


class Stack(nn.Module):
    """Layers run one after the other over a sequence that begins with [CLS]."""

    def __init__(self, layers, run=None):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.layers = nn.ModuleList(layers)
        randomize(self)
        self.run = run

    def forward(self, x):
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        for layer in self.layers if self.run is None else [self.layers[place] for place in self.run]:
            tokens = layer(tokens)
        return tokens[:, 0]


def layer(**options):
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 20, batch_first=True, **options)


def own_layers():
    return Stack([layer(), layer(), layer()])


def idle_layers():
    return Stack([layer(), layer(), layer()], run=[0, 1])


def idle_encoder():
    """A second encoder of the same kind of layers stands beside the one that runs."""
    module = Healthy()
    module.extra = nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False)
    randomize(module.extra)
    return module


def listed_twice():
    return Stack([layer()] * 3)


def run_twice():
    return Stack([layer()], run=[0, 0])


def shared_weights():
    first, second = layer(), layer()
    for name, part in second.named_modules():
        for own, weight in first.get_submodule(name).named_parameters(recurse=False):
            setattr(part, own, weight)
    return Stack([first, second])
