"""A trainer's output, a hub's cache and an adapter are no model: the sentence names what to pass instead."""

import json

import pytest
import torch
from safetensors.torch import save_file

import clsight
from clsight.errors import CheckpointError
from clsight.loading import load
from encoder_builders import declare_torchvision_operators, randomize
from huggingface_folders import TEXT_FAMILIES, save_text_model
from user_modules import Series


def message_of(path, **options):
    with pytest.raises(CheckpointError) as refusal:
        load(path, **options)
    return str(refusal.value)


def checkpoint(folder, *, config="{}"):
    """Write a folder as the transformers Trainer does."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    (folder / "training_args.bin").write_bytes(b"never opened")


def test_the_folder_of_a_trainer_names_its_last_checkpoint(tmp_path):
    for step in (500, 1000, 1500, 90):
        checkpoint(tmp_path / f"checkpoint-{step}")
    (tmp_path / "runs").mkdir()
    (tmp_path / "training_args.bin").write_bytes(b"never opened")
    assert message_of(tmp_path) == (
        f"`{tmp_path}`: expected one model, but got a folder with 4 of them: the last checkpoint-500, "
        f"checkpoint-1000, checkpoint-1500. Name one of them, such as {tmp_path / 'checkpoint-1500'}."
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"heads": 4}, {"factory": Series}, {"architecture": "timm:vit_tiny_patch16_224"}],
    ids=["alone", "with heads", "with a class", "with an architecture"],
)
def test_whatever_is_stated_the_one_checkpoint_is_named(tmp_path, options):
    (tmp_path / "checkpoint-500").mkdir()
    save_file(randomize(Series()).state_dict(), tmp_path / "checkpoint-500" / "model.safetensors")
    assert message_of(tmp_path, **options) == (
        f"`{tmp_path}`: expected one model, but got a folder with one in it: checkpoint-500. "
        f"Name it: {tmp_path / 'checkpoint-500'}."
    )
    assert load(tmp_path / "checkpoint-500", factory=Series).takes == "series"


def test_the_model_in_a_trainers_folder_is_loaded_whatever_checkpoints_lie_beside(tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    checkpoint(tmp_path / "checkpoint-500")
    assert load(tmp_path).cls_index == 0


def test_the_cache_of_a_hub_names_its_snapshot(tmp_path):
    checkpoint(tmp_path / "snapshots" / "0a1b")
    for name in ("blobs", "refs"):
        (tmp_path / name).mkdir()
    assert f"a folder with one in it: snapshots/0a1b. Name it: {tmp_path / 'snapshots' / '0a1b'}." in (
        message_of(tmp_path)
    )


def test_files_of_weights_in_a_folder_are_named(tmp_path):
    for name in ("epoch-9.ckpt", "epoch-10.ckpt", "optimizer.pt"):
        torch.save(randomize(Series()).state_dict(), tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert message_of(tmp_path) == (
        f"`{tmp_path}`: expected one model, but got a folder with 2 of them: epoch-9.ckpt, epoch-10.ckpt. "
        f"Name one of them, such as {tmp_path / 'epoch-10.ckpt'}."
    )


def adapter(folder, base):
    """Write what PEFT saves: an adapter's own weights, and the name of the model that it adds to."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    weights = {"base_model.model.encoder.layer.0.attention.self.query.lora_A.weight": torch.ones(2, 24)}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def told(folder, got, base):
    return (
        f"`{folder}`: expected a whole model, but got a PEFT adapter, whose base model {got}. Merge them in "
        f"Python, with `base` the model class loaded from {base}: `PeftModel.from_pretrained(base, "
        f"'{folder}').merge_and_unload().save_pretrained('merged')`; then load merged, with the base's "
        "tokenizer files in it."
    )


@pytest.mark.parametrize("named", ["bert", "../bert", "/elsewhere/models/bert", "someone/bert"])
def test_an_adapter_tells_how_to_merge_it_with_the_base_beside_it(tmp_path, named):
    save_text_model(tmp_path / "bert", *TEXT_FAMILIES["bert"])
    folder = adapter(tmp_path / "lora", named)
    base = tmp_path.resolve() / "bert"
    message = told(folder, f"`{named}` is found in {base}", f"'{base}'")
    assert message_of(folder) == message
    assert message_of(folder, heads=3) == message
    assert message_of(folder, factory=Series) == message
    assert message_of(folder / "adapter_model.safetensors", heads=3) == message


@pytest.mark.parametrize("place", ["base", "."], ids=["in a folder of its own", "among its files"])
def test_an_adapter_finds_the_base_inside_it(tmp_path, place):
    folder = adapter(tmp_path / "lora", "someone/bert")
    save_text_model(folder / place, *TEXT_FAMILIES["bert"])
    base = (folder / place).resolve()
    assert message_of(folder) == told(folder, f"`someone/bert` is found in {base}", f"'{base}'")


@pytest.mark.parametrize(
    ("config", "named"),
    [('{"base_model_name_or_path": "someone/bert"}', "`someone/bert` "), ("{}", ""), ("{", "")],
    ids=["named", "nameless", "broken"],
)
def test_an_adapter_without_its_base_is_told_so(tmp_path, config, named):
    (tmp_path / "adapter_config.json").write_text(config)
    assert message_of(tmp_path) == told(
        tmp_path, f"{named}is not found inside or beside it", "the base model"
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_steps_told_of_an_adapter_give_a_model_that_loads(tmp_path):
    """As the sentence says, with PEFT itself."""
    declare_torchvision_operators()
    import peft
    import transformers

    save_text_model(tmp_path / "bert", *TEXT_FAMILIES["bert"])
    settings = peft.LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    base = transformers.BertModel.from_pretrained(tmp_path / "bert")
    peft.get_peft_model(base, settings).save_pretrained(tmp_path / "lora")
    assert f"`{tmp_path / 'bert'}` is found in {tmp_path.resolve() / 'bert'}" in message_of(tmp_path / "lora")

    base = transformers.BertModel.from_pretrained(tmp_path / "bert")
    whole = peft.PeftModel.from_pretrained(base, tmp_path / "lora").merge_and_unload()
    whole.save_pretrained(tmp_path / "merged")
    for file in (tmp_path / "bert").glob("tokenizer*"):
        (tmp_path / "merged" / file.name).write_bytes(file.read_bytes())
    merged, plain = load(tmp_path / "merged"), load(tmp_path / "bert")
    sentence = "nobody reads it"
    changed = clsight.capture(merged, sentence).attends_to - clsight.capture(plain, sentence).attends_to
    assert float(abs(changed).max()) > 1e-3
