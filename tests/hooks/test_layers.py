"""Names of layers from the modules that were running."""

import pytest
import torch
from torch import nn

from clsight.hooks.layers import ModulePath, layer_names


def test_layer_name_is_the_shortest_path_of_its_own():
    paths = [("", "model", f"model.layer.{i}", f"model.layer.{i}.attn") for i in range(3)]
    assert layer_names(paths) == ["model.layer.0", "model.layer.1", "model.layer.2"]


def test_layer_name_goes_deeper_when_one_layer_attends_twice():
    paths = [("", "block", "block.rows"), ("", "block", "block.columns")]
    assert layer_names(paths) == ["block.rows", "block.columns"]


def test_layer_name_counts_when_one_module_runs_several_times():
    assert layer_names([("", "shared", "shared.attn")] * 3) == [f"shared.attn#{k}" for k in range(3)]


def test_layer_name_counts_only_the_repeated_module():
    paths = [("", "first"), ("", "shared"), ("", "shared")]
    assert layer_names(paths) == ["first", "shared#0", "shared#1"]


def test_single_layer_gets_its_numbered_path():
    assert layer_names([("", "encoder", "encoder.layers.0", "encoder.layers.0.self_attn")]) == [
        "encoder.layers.0"
    ]
    assert layer_names([("", "attention")]) == ["attention"]


def test_path_holds_the_modules_that_run():
    seen = []

    class Probe(nn.Module):
        def forward(self, x):
            seen.append(path.names)
            return x

    module = nn.Sequential(nn.Sequential(nn.Identity(), Probe()), nn.Identity())
    with ModulePath(module) as path:
        module(torch.zeros(1))
        assert path.names == ()
    assert seen == [("", "0", "0.1")]


def test_path_survives_an_exception_that_the_model_catches():
    class Fails(nn.Module):
        def forward(self, x):
            raise ValueError("planted")

    class Tries(nn.Module):
        def __init__(self):
            super().__init__()
            self.fails, self.then = Fails(), nn.Identity()

        def forward(self, x):
            try:
                return self.fails(x)
            except ValueError:
                return self.then(x)

    module = nn.Sequential(Tries(), nn.Identity())
    with ModulePath(module) as path:
        module(torch.zeros(1))
        assert path.names == ()


def test_leaving_removes_every_hook_after_an_error():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3))
    with pytest.raises(RuntimeError), ModulePath(module):
        module(torch.zeros(1, 2))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_forward_after_a_failed_one_starts_anew():
    class Fails(nn.Module):
        def forward(self, x):
            if x.isnan().any():
                raise ValueError("planted")
            return x

    module = nn.Sequential(Fails())
    with ModulePath(module) as path:
        with pytest.raises(ValueError, match="planted"):
            module(torch.full((1,), torch.nan))
        assert path.innermost == "0"
        module(torch.zeros(1))
        assert path.names == ()
