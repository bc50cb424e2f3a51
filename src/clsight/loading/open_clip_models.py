"""CLIP models of open_clip: a file of weights with a stated architecture, or a local folder; by tower."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clsight.errors import CheckpointError
from clsight.loading.fitting import fit_by_layer, fit_weights
from clsight.loading.open_clip_settings import OpenClipSettings, from_config, settings_by_name
from clsight.loading.optional_libraries import needing
from clsight.loading.options import Options
from clsight.loading.peeling import peel
from clsight.loading.picture_subject import (
    PictureTokens,
    check_complete,
    picture_preparation,
    picture_subject,
)
from clsight.loading.subject import ClsVector, Subject
from clsight.loading.tensor_files import inside, read_json, read_tensors
from clsight.preparation import Examples, Prepared

CONFIG_FILE = "open_clip_config.json"
_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
_TOWERS = (
    "The vision tower. The text tower has no [CLS] but reads its answer off the end-of-text token: look at "
    "it with clsight.capture(subject.module, {{'text': ids}}, within='{text}', cls_index=ends)"
)
_AVERAGED = "The answer is an average over patches. State cls_index=0 to look at the class token"


def is_open_clip(path: Path, options: Options) -> bool:
    """Tell whether the user states an architecture of open_clip."""
    return (options.architecture or "").startswith("open_clip:")


def is_open_clip_folder(path: Path, options: Options) -> bool:
    """Tell whether a folder has the configuration file of open_clip."""
    return options.architecture is None and (path / CONFIG_FILE).is_file()


def read_open_clip(path: Path, options: Options) -> Subject:
    """Return the subject of a file of weights for `open_clip:ViT-B-32` or another name of open_clip's."""
    settings = settings_by_name((options.architecture or "").removeprefix("open_clip:"))
    return _read(path, settings, options, f"weights of {options.architecture}")


def read_open_clip_folder(path: Path, options: Options) -> Subject:
    """Return the subject in a folder as open_clip puts it on a hub."""
    file = inside(path, CONFIG_FILE)
    settings = from_config(read_json(file), path / CONFIG_FILE, path.resolve().name)
    found = [name for name in _WEIGHTS if (path / name).exists()]
    if not found:
        raise CheckpointError(
            str(path), expected=" or ".join(_WEIGHTS), got="none of them", next_step="Copy the folder anew"
        )
    return _read(inside(path, found[0]), settings, options, "an open_clip folder")


def _read(path: Path, settings: OpenClipSettings, options: Options, form: str) -> Subject:
    """Return the vision tower's subject; the module is the whole model, called with pictures alone."""
    with needing("open_clip_torch", extra="open-clip"):
        import open_clip
    file = read_tensors(path)
    tensors = peel(file.tensors)[1]
    module: Any = _build(settings, tensors, path)
    fit = fit_weights(module, tensors, file=path)
    check_complete(module, fit["missing"], path)
    visual = module.visual
    height, width = visual.image_size
    transform = settings.transform((int(height), int(width)))
    tokens = PictureTokens(("cls",), visual.grid_size)
    read_off = 0 if visual.pool_type == "tok" else None
    provenance = {
        "path": str(path),
        "format": f"{form}, {file.kind}",
        "sha256": file.sha256,
        "open_clip": open_clip.__version__,
        **fit_by_layer(fit),
        "tower": _TOWERS.format(text="text" if settings.model.get("custom_text") else "transformer"),
    }
    if read_off is None:
        provenance["cls"] = _AVERAGED
    return picture_subject(
        module,
        name=f"{settings.name} ({path.name})",
        transform=transform,
        tokens=tokens,
        cls_index=read_off if options.cls_index is None else options.cls_index,
        cls_vector=ClsVector(visual.class_embedding),
        classes=(),
        classifies=False,
        provenance=provenance,
        within="visual",
        preparation=_by_name(picture_preparation(module, transform, tokens)),
    )


def _by_name(prepare: Any) -> Any:
    """Return a preparation whose module input goes by its name: `image`."""

    def prepared(examples: Examples) -> Prepared:
        found: Prepared = prepare(examples)
        return replace(found, inputs={"image": found.inputs})

    return prepared


def _build(settings: OpenClipSettings, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Return the model with random weights, first counted without taking memory for them."""
    wanted = sum(parameter.numel() for parameter in _create(settings, "meta").parameters())
    given = sum(tensor.numel() for tensor in tensors.values())
    if wanted > 2 * given + 1_000_000:
        raise CheckpointError(
            str(path),
            expected=f"the {wanted:,} numbers of {settings.name}",
            got=f"{given:,}",
            next_step="Check that the weights belong to this architecture",
        )
    return _create(settings, "cpu")


def _create(settings: OpenClipSettings, device: str) -> nn.Module:
    with needing("open_clip_torch", extra="open-clip"):
        import open_clip
    args = dict(settings.model)
    make = open_clip.CustomTextCLIP if args.pop("custom_text", False) else open_clip.CLIP
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            module: nn.Module = make(**args)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, ZeroDivisionError) as error:
        raise CheckpointError(
            settings.name,
            expected="settings that open_clip can build",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step=f"Correct {CONFIG_FILE}, or build the model yourself and pass it as factory=",
        ) from error
    return module
