"""Weights of transformers folders: one file or several, old names, tied, half precision, broken."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import clsight
from clsight.errors import CheckpointError
from clsight.loading.fitting import names_in
from huggingface_folders import ELECTRA, ROBERTA, TEXT, TEXT_FAMILIES, save_text_model

WEIGHTS, BINARY = "model.safetensors", "pytorch_model.bin"


@pytest.fixture
def bert(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    return tmp_path


def edit(folder, change):
    """Rewrite the weights by a function from name and tensor to name and tensor, or None."""
    changed = [change(*item) for item in load_file(folder / WEIGHTS).items()]
    save_file(dict(item for item in changed if item is not None), folder / WEIGHTS)


def output(subject):
    with torch.no_grad():
        return subject.module(**subject.prepare("the plan").inputs)[0]


def test_several_files_are_read_by_their_index(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    whole = output(clsight.load(tmp_path))
    tensors = load_file(tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).unlink()
    names = sorted(tensors)
    files = {name: f"part-{number % 3}.safetensors" for number, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, tmp_path / file)
    (tmp_path / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    assert torch.equal(output(clsight.load(tmp_path)), whole)


def test_an_index_that_leads_out_of_the_folder_is_refused(bert, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "weights.safetensors"
    (bert / WEIGHTS).rename(outside)
    names = load_file(outside)
    for place in (str(outside), f"../{outside.parent.name}/{outside.name}"):
        index = {"weight_map": dict.fromkeys(names, place)}
        (bert / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match="inside the folder"):
            clsight.load(bert)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_link_out_of_the_folder_is_refused(bert, tmp_path_factory, name):
    outside = tmp_path_factory.mktemp("outside") / name
    (bert / name).rename(outside)
    (bert / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="inside the folder"):
        clsight.load(bert)


def test_old_names_in_a_torch_file_are_those_of_today(bert):
    whole = output(clsight.load(bert))
    tensors = {
        f"bert.{name}".replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
        for name, tensor in load_file(bert / WEIGHTS).items()
    }
    (bert / WEIGHTS).unlink()
    torch.save(tensors, bert / BINARY)
    subject = clsight.load(bert)
    assert torch.equal(output(subject), whole)
    assert subject.provenance["missing"] == {}
    assert subject.provenance["format"] == "a transformers folder, torch"


@pytest.mark.parametrize(
    ("model", "config", "options", "tokenizer"),
    [
        ("BertForMaskedLM", "BertConfig", TEXT, "bert"),
        ("BertForPreTraining", "BertConfig", TEXT, "bert"),
        ("RobertaForMaskedLM", "RobertaConfig", ROBERTA, "roberta"),
        ("AlbertForMaskedLM", "AlbertConfig", dict(embedding_size=16, **TEXT), "pieces"),
        ("ElectraForPreTraining", "ElectraConfig", ELECTRA, "bert"),
        ("BertForTokenClassification", "BertConfig", TEXT, "bert"),
    ],
)
def test_below_a_head_without_classes_is_the_encoder(tmp_path, model, config, options, tokenizer):
    made = save_text_model(tmp_path, model, config, options, tokenizer)
    subject = clsight.load(tmp_path)
    assert type(subject.module).__name__ == f"{model.split('For')[0]}Model"
    assert subject.provenance["chosen"] == f"The encoder below {model}, whose logits are no classes"
    assert subject.provenance["missing"] == {}  # a pooler without weights is left out
    inputs = subject.prepare("the plan").inputs
    with torch.no_grad():
        wanted = made.base_model(**inputs).last_hidden_state
        assert torch.equal(subject.module(**inputs).last_hidden_state, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_the_file_is_kept(bert, dtype):
    edit(bert, lambda name, tensor: (name, tensor.to(dtype) if tensor.is_floating_point() else tensor))
    subject = clsight.load(bert)
    assert {parameter.dtype for parameter in subject.module.parameters()} == {dtype}
    assert torch.get_default_dtype() == torch.float32
    assert clsight.capture(subject, "the plan").sizes["layer"] == 2


def test_several_dtypes_become_one(bert):
    edit(bert, lambda name, tensor: (name, tensor.half() if "query" in name else tensor))
    assert {one.dtype for one in clsight.load(bert).module.parameters()} == {torch.float32}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_by_name(bert, bad):
    name = "encoder.layer.1.attention.self.query.bias"

    def change(key, tensor):
        if key == name:
            tensor[3] = bad
        return key, tensor

    edit(bert, change)
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(bert)
    assert str(refusal.value) == (
        f"`tensor {name}`: expected finite numbers, but got 1 of 24 that are NaN or infinite. In {bert}. "
        "Train again, or restore an earlier checkpoint."
    )


def test_a_shape_that_differs_is_refused_by_name(bert):
    edit(
        bert,
        lambda name, tensor: (
            name,
            tensor[:, :20].contiguous() if "0.output.dense.weight" in name else tensor,
        ),
    )
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(bert)
    assert "`tensor encoder.layer.0.output.dense.weight`: expected [24, 40], but got [24, 20]." in str(
        refusal.value
    )


def test_missing_tensors_are_told_and_most_of_them_refused(bert):
    edit(bert, lambda name, tensor: None if "layer.1.attention.self.query" in name else (name, tensor))
    found = names_in(clsight.load(bert).provenance["missing"])
    assert sorted(found) == [f"encoder.layer.1.attention.self.query.{end}" for end in ("bias", "weight")]
    edit(bert, lambda name, tensor: None if "encoder" in name else (name, tensor))
    with pytest.raises(CheckpointError, match="of them; the file has"):
        clsight.load(bert)


def test_weights_of_another_library_are_named(bert):
    (bert / WEIGHTS).rename(bert / "tf_model.h5")
    with pytest.raises(CheckpointError, match="but got weights of TensorFlow"):
        clsight.load(bert)
    (bert / "tf_model.h5").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors or pytorch_model\.bin, but got none"):
        clsight.load(bert)


def test_files_of_a_trainer_are_not_opened(bert):
    """A pipe would block whoever opens it, and a folder would fail."""
    import os

    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        os.mkfifo(bert / name)
    assert clsight.load(bert).cls_index == 0


def test_a_snapshot_in_the_cache_of_a_hub_is_a_folder(tmp_path):
    """Its files are links into the blobs beside it, by their checksums."""
    snapshot, blobs = tmp_path / "snapshots" / "0a1b", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_text_model(snapshot, *TEXT_FAMILIES["bert"])
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(f"../../blobs/{number}")
    assert clsight.load(snapshot).cls_index == 0
