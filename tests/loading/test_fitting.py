"""Weights go into the module they fit, whatever wraps their names, or one error says what differs."""

import argparse
from pathlib import Path

import pytest
import torch
from torch import nn

from clsight.errors import CheckpointError
from clsight.loading.fitting import by_layer, fit_weights, names_in
from clsight.loading.tensor_files import read_tensors

FILE = Path("weights.pt")


def encoder(seed=0, layers=3):
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    return nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(layer, layers), nn.Linear(8, 3))


def assert_same_weights(module, tensors):
    held = module.state_dict()
    assert held.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(held[name], tensor), name
        assert held[name].dtype == tensor.dtype, name


def message_of(module, tensors, **options):
    with pytest.raises(CheckpointError) as caught:
        fit_weights(module, tensors, file=FILE, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "prefix", ["", "model.", "module.", "state_dict.", "state_dict.model.module.", "net._orig_mod.", "a.b.c."]
)
def test_fit_peels_any_prefix(prefix):
    tensors, module = encoder().state_dict(), encoder(seed=1)
    report = fit_weights(module, {f"{prefix}{name}": tensor for name, tensor in tensors.items()}, file=FILE)
    assert report == {"missing": [], "unexpected": []}
    assert_same_weights(module, tensors)


def test_fit_loads_what_a_compiled_part_saved():
    tensors, module = encoder().state_dict(), encoder(seed=1)
    renamed = {name.replace("1.layers", "1._orig_mod.layers"): tensor for name, tensor in tensors.items()}
    fit_weights(module, renamed, file=FILE)
    assert_same_weights(module, tensors)


def test_fit_takes_the_weights_rather_than_their_average():
    tensors, module = encoder().state_dict(), encoder(seed=1)
    average = {f"ema.{name}": torch.zeros_like(tensor) for name, tensor in tensors.items()}
    both = average | {f"model.{name}": tensor for name, tensor in tensors.items()}
    report = fit_weights(module, both, file=FILE)
    assert_same_weights(module, tensors)
    assert report["unexpected"] == list(average)


def test_fit_loads_a_lightning_checkpoint_from_its_file(tmp_path):
    wanted, module = encoder(), encoder(seed=1)
    optimizer = torch.optim.AdamW(wanted.parameters())
    wanted(torch.ones(1, 4, 5)).sum().backward()
    optimizer.step()
    states = {f"model.{name}": tensor for name, tensor in wanted.state_dict().items()}
    checkpoint = {
        "state_dict": states,
        "epoch": 7,
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": argparse.Namespace(heads=2),
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    file = read_tensors(tmp_path / "last.ckpt")
    assert fit_weights(module, file.tensors, file=FILE) == {"missing": [], "unexpected": []}
    assert file.extras == {"epoch": 7, "hyper_parameters": {"heads": 2}}
    assert_same_weights(module, wanted.state_dict())


def test_fit_reports_what_is_missing_and_unexpected():
    tensors, module = encoder().state_dict(), encoder(seed=1)
    del tensors["1.layers.2.norm1.weight"], tensors["1.layers.2.norm2.bias"], tensors["2.bias"]
    before = module[2].bias.clone()
    report = fit_weights(module, {"loss.weight": torch.ones(2)} | tensors, file=FILE)
    assert report["missing"] == ["1.layers.2.norm1.weight", "1.layers.2.norm2.bias", "2.bias"]
    assert report["unexpected"] == ["loss.weight"]
    assert torch.equal(module[2].bias, before)


def test_missing_names_are_told_by_layer():
    names = [
        "encoder.layer.10.norm.bias",
        "encoder.layer.10.output.weight",
        "pooler.dense.bias",
        "cls",
        "2.bias",
    ]
    assert by_layer(names) == {
        "encoder.layer.10": ["norm.bias", "output.weight"],
        "pooler.dense": ["bias"],
        "": ["cls"],
        "2": ["bias"],
    }
    assert names_in(by_layer(names)) == names


def test_fit_refuses_a_file_that_lacks_more_than_half():
    tensors, module = encoder().state_dict(), encoder(seed=1)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    few = {name: tensor for name, tensor in tensors.items() if "layers" not in name}
    assert message_of(module, few) == (
        "`weights.pt`: expected the module's 40 tensors, such as `1.layers.0.self_attn.in_proj_weight`, "
        "but got 4 of them; the file has `0.weight`, `0.bias`, `2.weight` and 1 more. "
        "Check that the weights belong to this model."
    )
    assert_same_weights(module, before)


def test_fit_does_not_count_what_is_optional():
    tensors, module = encoder().state_dict(), encoder(seed=1)
    few = {name: tensor for name, tensor in tensors.items() if "layers" not in name}
    report = fit_weights(module, few, file=FILE, optional=("1.layers.",))
    assert len(report["missing"]) == 36


def test_fit_refuses_tensors_of_another_module():
    assert "but got 0 of them; the file has no tensors" in message_of(encoder(), {})
    assert "but got 0 of them; the file has `a`." in message_of(encoder(), {"a": torch.ones(1)})


def test_fit_names_the_tensor_of_another_shape():
    tensors = encoder().state_dict() | {"1.layers.1.linear1.weight": torch.ones(12, 9)}
    assert message_of(encoder(), tensors) == (
        "`tensor 1.layers.1.linear1.weight`: expected floating [12, 8], but got floating [12, 9]. "
        "In weights.pt. Check that the weights belong to this model."
    )


def test_fit_refuses_whole_numbers_as_weights():
    tensors = encoder().state_dict() | {"2.bias": torch.ones(3, dtype=torch.int8)}
    assert "expected floating [3], but got int8 [3]" in message_of(encoder(), tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_fit_names_the_tensor_that_is_not_finite(value):
    tensors = encoder().state_dict()
    tensors["1.layers.1.norm1.weight"][2:5] = value
    message = message_of(encoder(), tensors)
    assert "`tensor 1.layers.1.norm1.weight`: expected finite numbers, but got 3 of 8 that are NaN" in message


def test_fit_refuses_two_names_that_become_one():
    tensors = encoder().state_dict()
    tensors["_orig_mod.2.bias"] = tensors["2.bias"]
    assert "expected one tensor per name, but got 2.bias and _orig_mod.2.bias" in message_of(
        encoder(), tensors
    )


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([torch.bfloat16], torch.bfloat16),
        ([torch.float64], torch.float64),
        ([torch.float16, torch.float32], torch.float32),
        ([torch.float64, torch.bfloat16], torch.float32),
        ([torch.float8_e4m3fn], torch.float32),
    ],
)
def test_fit_gives_one_dtype(dtypes, expected):
    tensors, module = encoder().state_dict(), encoder(seed=1)
    mixed = {
        name: tensor.to(dtypes[index % len(dtypes)]) for index, (name, tensor) in enumerate(tensors.items())
    }
    fit_weights(module, mixed, file=FILE)
    assert_same_weights(module, {name: tensor.to(expected) for name, tensor in mixed.items()})


def test_fit_needs_a_shared_tensor_once():
    module = nn.ModuleDict({"embed": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    module["head"].weight = module["embed"].weight
    given = torch.randn(7, 4)
    assert fit_weights(module, {"embed.weight": given}, file=FILE) == {"missing": [], "unexpected": []}
    assert torch.equal(module["head"].weight, given)


def test_fit_fills_a_module_on_the_meta_device():
    tensors = encoder().state_dict()
    with torch.device("meta"):
        module = encoder()
    fit_weights(module, tensors, file=FILE)
    assert_same_weights(module, tensors)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_tensors_of_a_filled_module_share_no_memory():
    shared = torch.randn(8)
    kept = shared.clone()
    tensors = encoder().state_dict()
    tensors |= {"1.layers.0.norm1.weight": shared, "1.layers.1.norm1.weight": shared}
    with torch.device("meta"):
        module = encoder()
    fit_weights(module, tensors, file=FILE)
    with torch.no_grad():
        module[1].layers[0].norm1.weight.zero_()
    assert torch.equal(module[1].layers[1].norm1.weight, kept)


def test_fit_refuses_to_leave_a_tensor_on_the_meta_device():
    tensors = encoder().state_dict()
    del tensors["2.bias"]
    with torch.device("meta"):
        module = encoder()
    assert "expected all of the module's 40 tensors, but got none for `2.bias`" in message_of(module, tensors)
