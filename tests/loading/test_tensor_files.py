"""A file of weights gives what torch and safetensors themselves read from it, or one sentence."""

import argparse
import hashlib
import io
import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from safetensors.torch import save_file
from torch import nn

from clsight.errors import CheckpointError
from clsight.loading.tensor_files import read_shards, read_tensors
from hostile_containers import safetensors_file
from torch_archives import saved, weights


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert torch.equal(found[name], tensor), name


def message_of(path):
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    return str(caught.value)


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.ckpt", "a.bin", "a.safetensors", "a"])
def test_torch_file_reads_as_torch_reads_it_by_any_name(tmp_path, name, options):
    path = tmp_path / name
    path.write_bytes(saved(weights(), **options))
    file = read_tensors(path)
    assert_same(file.tensors, torch.load(io.BytesIO(path.read_bytes()), weights_only=False))
    assert (file.kind, file.extras) == ("torch", {})
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors_file_reads_as_safetensors_reads_it(tmp_path):
    tensors = {name: tensor.contiguous() for name, tensor in weights().items()}
    path = tmp_path / "misnamed.pt"
    save_file(tensors, path, metadata={"format": "pt"})
    file = read_tensors(path)
    expected = load_safetensors(path.read_bytes())
    assert_same({name: file.tensors[name] for name in expected}, expected)
    assert (file.kind, file.extras) == ("safetensors", {"format": "pt"})


def test_numbers_that_lie_unevenly_in_a_file_are_read(tmp_path):
    header = {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "F64", "shape": [2], "data_offsets": [3, 19]},
    }
    numbers = bytes([1, 2, 3]) + np.array([0.5, -7.25]).tobytes()
    for blanks in range(8):
        text = json.dumps(header).encode() + b" " * blanks
        (tmp_path / "a").write_bytes(safetensors_file(text, numbers))
        tensors = read_tensors(tmp_path / "a").tensors
        assert tensors["b"].tolist() == [0.5, -7.25]
        assert tensors["b"].data_ptr() % 8 == 0


def test_nested_checkpoint_gives_flat_names_and_what_is_no_tensor(tmp_path):
    module = nn.Linear(3, 2)
    checkpoint = {
        "model": module.state_dict(),
        "history": [{"loss": 0.5, "kept": torch.ones(2)}, (1, None)],
        "epoch": np.int64(4),
        "args": argparse.Namespace(rate=0.1, shape=torch.Size([2, 3]), kind=torch.float16),
        "lr_schedulers": [{"last": torch.ones(1)}],
        "optimizer_states": [torch.optim.Adam(module.parameters()).state_dict()],
    }
    torch.save(checkpoint, tmp_path / "a.ckpt")
    file = read_tensors(tmp_path / "a.ckpt")
    assert list(file.tensors) == ["model.weight", "model.bias", "history.0.kept"]
    assert file.extras == {
        "history": [{"loss": 0.5}, [1, None]],
        "epoch": 4,
        "args": {"rate": 0.1, "shape": [2, 3], "kind": "torch.float16"},
    }


def test_tensor_of_a_part_that_has_the_name_of_a_trainers_state_is_read(tmp_path):
    tensors = {"scaler.mean": torch.ones(2), "optimal": torch.zeros(1), "loops.0.weight": torch.ones(3)}
    torch.save(tensors, tmp_path / "a.pt")
    assert_same(read_tensors(tmp_path / "a.pt").tensors, tensors)


def test_tensors_that_shared_memory_when_saved_share_it_again(tmp_path):
    base = torch.arange(6.0)
    torch.save({"whole": base, "part": base[2:4], "alone": torch.arange(6.0)}, tmp_path / "a.pt")
    tensors = read_tensors(tmp_path / "a.pt").tensors
    tensors["whole"][3] = 9
    assert tensors["part"].tolist() == [2, 9]
    assert tensors["alone"][3] == 3


def test_old_file_with_a_damaged_shape_is_refused(tmp_path):
    data = saved({"w": torch.ones(3, 4)}, _use_new_zipfile_serialization=False)
    shape = b"K\x03K\x04\x86"
    assert data.count(shape) == 1
    (tmp_path / "a.pt").write_bytes(data.replace(shape, b"K\x02K\x04\x86"))
    assert "expected a tensor that fills its storage at 'w', but got a part" in message_of(tmp_path / "a.pt")


def test_tensors_stay_when_the_file_changes(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save_safetensors({"w": torch.ones(3)}))
    tensors = read_tensors(path).tensors
    path.write_bytes(bytes(len(path.read_bytes())))
    assert tensors["w"].tolist() == [1, 1, 1]


def test_whole_module_is_refused_with_the_three_lines_that_convert_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.save(nn.Sequential(nn.Linear(3, 2)), "model.pt")
    message = message_of(tmp_path / "model.pt")
    assert "expected a state dict, but got a whole pickled module, which names code to run" in message
    assert "torch.nn.modules.container Sequential" in message
    lines = message.split("`")[-6::2]
    assert len(lines) == 3
    exec("\n".join(lines), {})
    assert list(read_tensors(tmp_path / "weights.pt").tensors) == ["0.weight", "0.bias"]


def test_foreign_object_is_refused_with_the_lines_that_save_the_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": weights(), "config": {1, 2}}, "model.ckpt")
    message = message_of(tmp_path / "model.ckpt")
    assert "expected names that `torch.save` uses for weights, but got `__builtin__ set`" in message
    lines = message.split("`")[-6::2]
    exec("\n".join(lines), {})
    assert_same(read_tensors(tmp_path / "weights.pt").tensors, weights())


def test_state_of_a_trainer_is_not_opened(tmp_path):
    names = [
        "training_args.bin",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state_0.pth",
        "optimizer.bin",
        "scaler.pt",
    ]
    for name in names:  # a file that cannot be opened gives another message
        assert "expected a file of weights, but got the state of a trainer" in message_of(tmp_path / name)


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    assert "expected a readable file, but got a folder" in message_of(tmp_path / "folder")
    assert "expected a readable file, but got a pipe or a device" in message_of(tmp_path / "pipe")
    assert "expected a readable file, but got Too many levels" in message_of(tmp_path / "circle")
    assert "expected a readable file, but got No such file" in message_of(tmp_path / "none")


def test_file_larger_than_the_memory_is_not_read(tmp_path):
    with open(tmp_path / "large.pt", "wb") as stream:
        stream.truncate(2**42)  # takes no room on the disk
    assert "but got 4,398,046,511,104" in message_of(tmp_path / "large.pt")


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (pickle.dumps({"a": 1}), "a pickle that `torch.save` did not write"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs in place of the file"),
        (b"GGUF\3", "a GGUF file"),
        (b"hello", "5 bytes of another kind"),
    ],
)
def test_other_format_is_named(tmp_path, data, got):
    (tmp_path / "a").write_bytes(data)
    assert message_of(tmp_path / "a") == (
        f"`{tmp_path / 'a'}`: expected a file by `torch.save` or safetensors, but got {got}. "
        "Save the weights with `torch.save(model.state_dict(), 'weights.pt')` or as safetensors."
    )


# --- shards ---


@pytest.fixture
def sharded(tmp_path):
    """Return an index file of two shards of a state dict."""
    names = list(weights())
    placed = {name: f"part-{index % 2}.bin" for index, name in enumerate(names)}
    for file in set(placed.values()):
        torch.save({name: weights()[name] for name in names if placed[name] == file}, tmp_path / file)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}))
    return index


def change_index(index, change):
    content = json.loads(index.read_text())
    change(content)
    index.write_text(json.dumps(content))


def message_of_shards(index):
    with pytest.raises(CheckpointError) as caught:
        read_shards(index)
    return str(caught.value)


def test_shards_read_as_one_file(sharded):
    file = read_shards(sharded)
    assert_same(file.tensors, weights())
    hashes = [
        hashlib.sha256((sharded.parent / f"part-{part}.bin").read_bytes()).digest() for part in range(2)
    ]
    assert file.sha256 == hashlib.sha256(b"".join(hashes)).hexdigest()


@pytest.mark.parametrize(
    "name", ["../part-0.bin", "/etc/passwd", "a/../../part-0.bin", "", ".", "..\\a", "C:/a"]
)
def test_shard_outside_the_folder_is_refused(sharded, name):
    change_index(sharded, lambda content: content["weight_map"].update(steps=name))
    assert "expected a name inside the folder" in message_of_shards(sharded)


def test_shard_that_links_outside_is_refused(sharded, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "part-0.bin"
    (sharded.parent / "part-0.bin").rename(outside)
    (sharded.parent / "part-0.bin").symlink_to(outside)
    assert "expected a file inside the folder, but got a link to" in message_of_shards(sharded)


def test_shard_that_lacks_a_tensor_is_refused(sharded):
    change_index(sharded, lambda content: content["weight_map"].update(more="part-0.bin"))
    assert "tensors that the index lists, but got others, such as 'more'" in message_of_shards(sharded)
    change_index(sharded, lambda content: [content["weight_map"].pop(name) for name in ("more", "steps")])
    assert "but got others, such as 'steps'" in message_of_shards(sharded)


def test_one_shard_by_two_names_is_refused(sharded):
    (sharded.parent / "part-2.bin").symlink_to("part-0.bin")
    change_index(sharded, lambda content: content["weight_map"].update(more="part-2.bin"))
    assert "expected one name per file, but got a link" in message_of_shards(sharded)


@pytest.mark.parametrize("content", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 5}}])
def test_index_without_file_names_is_refused(sharded, content):
    sharded.write_text(json.dumps(content))
    assert "expected file names in `weight_map`" in message_of_shards(sharded)
