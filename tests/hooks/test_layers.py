"""Names of layers from the modules that were running."""

import copy
import pickle

import pytest
import torch
from torch import nn

from clsight.hooks.layers import ModulePath, layer_names, named_parts, where_raised


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
    with ModulePath(named_parts(module)) as path:
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
    with ModulePath(named_parts(module)) as path:
        module(torch.zeros(1))
        assert path.names == ()


def test_modules_of_torch_that_hold_no_other_get_no_hooks():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with ModulePath(named_parts(layer)):
        hooked = {name for name, part in layer.named_modules() if part._forward_hooks}
    assert hooked == {"", "self_attn"}


def test_own_module_without_submodules_is_hooked_also_if_it_extends_torchs():
    class Attention(nn.Linear):
        def forward(self, x):
            seen.append(path.names)
            return super().forward(x)

    seen = []
    module = nn.Sequential(Attention(2, 2))
    with ModulePath(named_parts(module)) as path:
        module(torch.zeros(1, 2))
    assert seen == [("", "0")]


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_parts_are_named_without_the_wrappers_of_compiling():
    inner = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Linear(2, 2))
    inner[0] = torch.compile(inner[0])
    assert set(named_parts(inner)) == {"", "0", "0.0", "1"}
    assert named_parts(inner)["0"] is inner.get_submodule("0._orig_mod")


def test_exception_is_traced_to_the_innermost_submodule():
    module = nn.Sequential(nn.Sequential(nn.Linear(2, 3)), nn.Linear(2, 3))
    with pytest.raises(RuntimeError) as caught:
        module(torch.zeros(1, 2))
    assert where_raised(caught.value, module) == "1"
    with pytest.raises(RuntimeError) as caught:
        module(torch.zeros(1, 5))
    assert where_raised(caught.value, module) == "0.0"
    assert where_raised(ValueError("elsewhere"), module) == ""


def test_leaving_removes_every_hook_after_an_error():
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3))
    with pytest.raises(RuntimeError), ModulePath(named_parts(module)):
        module(torch.zeros(1, 2))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_forward_after_a_failed_one_starts_anew():
    class Fails(nn.Module):
        def forward(self, x):
            if x.isnan().any():
                raise ValueError("planted")
            return x

    module = nn.Sequential(Fails())
    with ModulePath(named_parts(module)) as path:
        with pytest.raises(ValueError, match="planted"):
            module(torch.full((1,), torch.nan))
        module(torch.zeros(1))
        assert path.names == ()


def test_a_copy_made_while_hooks_are_on_has_none_that_act():
    seen = []

    def noted(name, inputs, output):
        seen.append(name)

    module = nn.Sequential(nn.Sequential(nn.Identity()))
    with ModulePath(named_parts(module), on_leave=noted):
        copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
        for other in copies:
            other(torch.zeros(1))
        assert seen == []
        module(torch.zeros(1))
    assert seen == ["0", ""]
