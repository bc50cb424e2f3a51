"""Each format that clsight meets, written small into a folder, with what happens when it is loaded.

The docs list them in this order; `python docs/loading.py` writes that table.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

import clsight
from clsight.errors import ClsightError
from clsight.loading.vision_transformer import Geometry, VisionTransformer
from doctor.forum_classifier import ClassificationTransformer
from encoder_builders import declare_torchvision_operators, randomize, timm
from hostile_containers import lying_archives, other_files
from huggingface_folders import PICTURE_FAMILIES, TEXT_FAMILIES, save_model, save_text_model
from loading.test_open_clip_models import MODEL as OPEN_CLIP
from loading.test_open_clip_models import folder_with as save_open_clip
from loading.timm_files import SMALL
from loading.timm_files import folder_with as save_timm
from torch_archives import Calls, archive, claim, pickled
from user_modules import HEADS, WIDTH, Series, TwoTowers


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        what: The format, in words.
        command: What the user types after `clsight capture`.
        write: Writes the model below a folder.
        path: Of the model in that folder.
        options: Of `clsight.load`, as the command states them.
    """

    what: str
    command: str
    write: Callable[[Path], Any]
    path: str
    options: dict[str, Any] = field(default_factory=dict)


def outcome(row: Row, folder: Path) -> tuple[bool, str]:
    """Return whether the model of a row was loaded and captured, and what the user is told, on one line."""
    declare_torchvision_operators()
    row.write(folder)
    try:
        subject = clsight.load(folder / row.path, **row.options)
        record = clsight.capture(subject, subject.examples[:2])
    except ClsightError as error:
        return False, str(error).replace(f"{folder}{os.sep}", "").replace(str(folder), ".")
    assert float(record["attention_error"].max()) < 1e-5
    told = {"path", "format", "sha256", "clsight", "torch", "missing", "unexpected"}
    assert told <= subject.provenance.keys(), told - subject.provenance.keys()
    assert all(isinstance(subject.provenance[name], dict) for name in ("missing", "unexpected"))
    kinds = ", ".join(subject.token_kinds)
    sizes = record.sizes
    told = f"{sizes['layer']} layers, {sizes['head']} heads; tokens: {kinds}"
    if subject.provenance.get("forward") == "reconstructed":
        told += "; reconstructed forward"
    return True, f"{told}; {subject.provenance['examples']}" if "examples" in subject.provenance else told


def weights(kind: Callable[[], nn.Module], name: str, **beside: Any) -> Callable[[Path], None]:
    """Return a writer of a module's state dict, as it is or beside other entries."""

    def write(folder: Path) -> None:
        state = randomize(kind()).state_dict()
        if name.endswith(".safetensors"):
            save_file(state, folder / name)
        else:
            torch.save({"state_dict": state, **beside} if beside else state, folder / name)

    return write


def thread() -> nn.Module:
    """Return the classifier of the thread, with the sizes of the other modules here."""
    return ClassificationTransformer(WIDTH, HEADS, 2)


def _lightning(folder: Path) -> None:
    state = {f"model.{name}": tensor for name, tensor in randomize(Series()).state_dict().items()}
    stated = {"nhead": HEADS, "norm_first": True, "activation": "gelu"}
    torch.save({"state_dict": state, "epoch": 3, "hyper_parameters": stated}, folder / "epoch=3.ckpt")


def _trainer(folder: Path) -> None:
    (folder / "checkpoint-500").mkdir()
    save_file(randomize(Series()).state_dict(), folder / "checkpoint-500" / "model.safetensors")
    (folder / "checkpoint-500" / "training_args.bin").write_bytes(b"never opened")


def _trainer_output(folder: Path) -> None:
    for step in (500, 1000):
        save_text_model(folder / "out" / f"checkpoint-{step}", *TEXT_FAMILIES["bert head"])


def _adapter(folder: Path) -> None:
    (folder / "lora").mkdir()
    (folder / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/bert"}')
    save_file({"lora_A.weight": torch.ones(2, 24)}, folder / "lora" / "adapter_model.safetensors")


def _torchvision(folder: Path) -> None:
    sizes = Geometry(
        image_size=96, patch_size=32, layers=12, heads=12, width=768, feedforward=3072, classes=7
    )
    torch.save(randomize(VisionTransformer(sizes)).state_dict(), folder / "vit_b_32.pth")


def _timm_weights(folder: Path) -> None:
    save_file(timm("vit_tiny_patch16_224")().state_dict(), folder / "vit_tiny.safetensors")


def _sentences(folder: Path) -> None:
    save_text_model(folder, *TEXT_FAMILIES["bert"])
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 24, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def _in(name: str, write: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Return a writer into a subfolder."""

    def write_below(folder: Path) -> None:
        (folder / name).mkdir()
        write(folder / name)

    return write_below


def _bytes(name: str, data: Callable[[], bytes]) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data())


def _remote_code(folder: Path) -> None:
    save_text_model(folder, *TEXT_FAMILIES["bert"])
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_mine.Mine"}
    (folder / "config.json").write_text(json.dumps(config))


def _nan(folder: Path) -> None:
    state = randomize(Series()).state_dict()
    state["head.weight"][0, 0] = torch.nan
    torch.save(state, folder / "diverged.pt")


def _whole_module(folder: Path) -> None:
    torch.save(randomize(Series()), folder / "model.pt")


def _sample(folder: Path) -> None:
    shutil.copytree(clsight.sample_models_dir() / "digits-learned", folder / "digits-learned")


PRE = {"heads": HEADS, "norm": "pre", "activation": "gelu"}
LOADED = (
    Row("a clsight folder", "digits-learned", _sample, "digits-learned"),
    Row(
        "a transformers folder of text",
        "bert/",
        _in("bert", lambda folder: save_text_model(folder, *TEXT_FAMILIES["bert head"])),
        "bert",
    ),
    Row(
        "a transformers folder of pictures",
        "vit/",
        _in("vit", lambda folder: save_model(folder, *PICTURE_FAMILIES["vit head"])),
        "vit",
    ),
    Row("a sentence-transformers folder", "minilm/", _in("minilm", _sentences), "minilm"),
    Row(
        "weights of timm",
        "vit_tiny.safetensors --architecture timm:vit_tiny_patch16_224",
        _timm_weights,
        "vit_tiny.safetensors",
        {"architecture": "timm:vit_tiny_patch16_224"},
    ),
    Row(
        "a timm folder",
        "vit-timm/",
        _in("vit-timm", lambda folder: save_timm(folder, *SMALL["registers"])),
        "vit-timm",
    ),
    Row(
        "weights of torchvision",
        "vit_b_32.pth --architecture torchvision:vit_b_32",
        _torchvision,
        "vit_b_32.pth",
        {"architecture": "torchvision:vit_b_32"},
    ),
    Row(
        "an open_clip folder",
        "clip/",
        _in("clip", lambda folder: save_open_clip(folder, OPEN_CLIP)),
        "clip",
    ),
    Row(
        "`torch.save(model.state_dict())` of the thread's class",
        "forum.pt --heads 4",
        weights(thread, "forum.pt"),
        "forum.pt",
        {"heads": HEADS},
    ),
    Row(
        "the same, its class at hand",
        "forum.pt --model forum:make",
        weights(thread, "forum.pt"),
        "forum.pt",
        {"factory": thread},
    ),
    Row(
        "a state dict with [CLS], input, positions and head",
        "mine.safetensors --heads 4 --norm pre --activation gelu",
        weights(Series, "mine.safetensors"),
        "mine.safetensors",
        PRE,
    ),
    Row("a Lightning checkpoint", "epoch=3.ckpt", _lightning, "epoch=3.ckpt"),
    Row(
        "a folder of the transformers Trainer around your own class",
        "checkpoint-500/ --model mine:Series",
        _trainer,
        "checkpoint-500",
        {"factory": Series},
    ),
)
REFUSED = (
    Row("a state dict without the heads", "mine.pt", weights(Series, "mine.pt"), "mine.pt"),
    Row("two encoders", "two.pt --heads 4", weights(TwoTowers, "two.pt"), "two.pt", {"heads": HEADS}),
    Row(
        "layers that are not torch's", "timm.pt", weights(timm("vit_tiny_patch16_224"), "timm.pt"), "timm.pt"
    ),
    Row("a whole module, `torch.save(model)`", "model.pt", _whole_module, "model.pt"),
    Row(
        "a pickle that runs code",
        "evil.pt",
        _bytes("evil.pt", lambda: archive(pickled({"w": claim(), "evil": Calls(os.system, "true")}))),
        "evil.pt",
    ),
    Row(
        "a deflated archive",
        "bomb.pt",
        _bytes("bomb.pt", lambda: lying_archives()["deflated bomb"]),
        "bomb.pt",
    ),
    Row(
        "a scripted module, `torch.jit.save`",
        "scripted.pt",
        _bytes("scripted.pt", lambda: lying_archives()["TorchScript"]),
        "scripted.pt",
    ),
    Row("weights with NaN", "diverged.pt --heads 4", _nan, "diverged.pt", {"heads": HEADS}),
    Row(
        "an optimizer's file", "optimizer.pt", _bytes("optimizer.pt", lambda: b"never opened"), "optimizer.pt"
    ),
    Row("a pointer of git-lfs", "lfs.bin", _bytes("lfs.bin", lambda: other_files()["pointer"]), "lfs.bin"),
    Row(
        "a transformers folder that brings its own code",
        "remote/",
        _in("remote", _remote_code),
        "remote",
    ),
    Row("a trainer's folder of checkpoints", "out/", _trainer_output, "out"),
    Row("an adapter of PEFT", "lora/", _adapter, "lora"),
    Row("a name on a hub", "bert-base-uncased", lambda folder: None, "bert-base-uncased"),
)
