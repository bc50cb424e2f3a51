"""A folder that is not whole gives one CheckpointError that says what and where."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from clsight.errors import CheckpointError
from clsight.loading import load
from own_folders import change_config, change_weights, message_of


def test_load_refuses_a_missing_path(tmp_path):
    message = message_of(tmp_path / "none")
    assert message == (
        f"`{tmp_path / 'none'}`: expected a model folder, but got no such path. "
        "Pass a folder such as sample_models/digits-learned."
    )


@pytest.mark.parametrize(("path", "got"), [(5, "an object of type int"), (None, "None")])
def test_load_refuses_what_is_no_path(path, got):
    message = (
        f"`model`: expected the path of a model folder, but got {got}. Pass a str or a pathlib.Path, such"
    )
    with pytest.raises(CheckpointError, match=message):
        load(path)


def test_load_refuses_a_file(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"abc")
    assert "expected a file by `torch.save` or safetensors" in message_of(tmp_path / "model.pt")


def test_load_refuses_a_foreign_folder(tmp_path):
    assert "expected a clsight model folder, but got a folder without config.json" in message_of(tmp_path)
    (tmp_path / "config.json").write_text('{"backend": "other"}')
    assert 'expected `"format": "clsight"`, but got settings of another library' in str(message_of(tmp_path))


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, "\udcff"])
def test_load_refuses_settings_that_are_no_json(folder, text):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert f"`{folder / 'config.json'}`: expected JSON, but got text that is not" in message_of(folder)


def test_load_refuses_a_later_format(folder):
    change_config(folder, format_version=2)
    assert "expected format_version 1, but got 2" in message_of(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "middle"}, "`norm`: expected a known option, but got 'middle'. In "),
        ({"strategy": "learnt"}, "Did you mean `learned`?"),
        ({"colour": 1}, "`model settings`: expected known names, but got 'colour'. In "),
        ({"strategy_options": {"std": "wide"}}, "expected a positive number as std, but got 'wide'. In "),
        (
            {"strategy_options": {"size": 1}},
            "`strategy learned`: expected a known option, but got `size`. In ",
        ),
        (
            {"width": 10**15},
            "`width`: expected a whole number from 1 to 65536, but got 1000000000000000. In ",
        ),
        ({"width": 64_000, "heads": 1}, "tensor "),
        ({"patch_size": "22"}, "`patch_size`: expected (height, width) in pixels, but got '22'. In "),
    ],
)
def test_load_refuses_settings_that_do_not_fit(folder, change, message):
    settings = json.loads((folder / "config.json").read_text())["model"]
    change_config(folder, model={**settings, **change})
    got = message_of(folder)
    assert message in got
    assert str(folder) in got


@pytest.mark.parametrize(("checksum", "got"), [(None, "null"), (5, "5")])
def test_load_refuses_a_checksum_that_is_no_text(folder, checksum, got):
    change_config(folder, weights_sha256=checksum)
    assert message_of(folder) == (
        f"`weights_sha256`: expected a checksum in hexadecimal, as text, but got {got}. "
        f"In {folder / 'config.json'}. Copy the folder anew from its source."
    )


def test_load_refuses_settings_without_a_model(folder):
    change_config(folder, model=None)
    assert "expected settings in `model`, but got NoneType" in message_of(folder)


@pytest.mark.parametrize(
    ("classes", "got"),
    [(["a", "b"], "but got 2 of them"), ("abc", "but got str"), ([1, 2, 3], "but got list")],
)
def test_load_refuses_class_names_that_do_not_fit(folder, classes, got):
    change_config(folder, classes=classes)
    message = message_of(folder)
    assert "expected 3 class names in `classes`" in message
    assert got in message


def test_load_refuses_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "expected a readable file, but got No such file or directory" in message_of(folder)


@pytest.mark.parametrize("size", [0, 5, 200, -1])
def test_load_refuses_truncated_weights(folder, size):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    assert f"`{file}`: expected a whole safetensors file, but got " in message_of(folder)


def test_load_refuses_a_header_that_claims_more_than_the_file_holds(folder):
    header = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert "expected a whole safetensors file" in message_of(folder)


def test_load_names_missing_and_unexpected_tensors(folder):
    def rename(weights):
        weights["head.gain"] = weights.pop("head.weight")

    change_weights(folder, rename)
    message = message_of(folder)
    assert "expected the model's tensors, but got missing head.weight; unexpected head.gain" in message


def test_load_names_the_tensor_of_another_shape(folder):
    change_weights(folder, lambda weights: weights.update(position=torch.zeros(5, 8)))
    assert "`tensor position`: expected floating [7, 8], but got torch.float32 [5, 8]" in message_of(folder)


def test_load_names_the_tensor_of_another_dtype(folder):
    change_weights(folder, lambda weights: weights.update({"head.bias": torch.zeros(3, dtype=torch.int64)}))
    assert "`tensor head.bias`: expected floating [3], but got torch.int64 [3]" in message_of(folder)


def test_load_refuses_mixed_dtypes(folder):
    change_weights(folder, lambda weights: weights.update({"head.bias": torch.zeros(3, dtype=torch.float64)}))
    assert "expected tensors of one dtype, but got torch.float32, torch.float64" in message_of(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_load_names_the_tensor_that_is_not_finite(folder, value):
    change_weights(folder, lambda weights: weights["encoder.layers.1.linear1.weight"][2, :3].fill_(value))
    message = message_of(folder)
    assert "`tensor encoder.layers.1.linear1.weight`: expected finite numbers" in message
    assert "but got 3 of 48 that are NaN or infinite" in message


def test_load_notices_a_flipped_bit(folder):
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    assert "expected the weights that were saved, but got a file with another checksum" in message_of(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"inputs": np.zeros((2, 3, 3))},
            "expected numbers [sample, height=4, width=6], but got float64 [2, 3, 3]",
        ),
        ({"inputs": np.full((2, 4, 6), np.nan)}, "expected finite numbers"),
        ({"inputs": np.zeros((2, 4, 6)), "labels": np.array([0, 3])}, "expected 0 to 2, but got 0 to 3"),
        ({"inputs": np.zeros((2, 4, 6)), "labels": np.array([[0], [1]])}, "expected whole numbers [sample]"),
        ({"images": np.zeros((2, 4, 6))}, "expected `inputs`, and nothing but `labels` and `token_mask`"),
        ({"inputs": np.zeros((2, 4, 6), dtype=np.uint16)}, "`array inputs`: expected a NumPy dtype"),
    ],
)
def test_load_refuses_examples_that_do_not_fit(folder, arrays, message):
    save_file(arrays, folder / "examples.safetensors")
    got = message_of(folder)
    assert message in got
    assert "examples.safetensors" in got
