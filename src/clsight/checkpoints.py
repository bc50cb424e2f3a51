"""clsight's model folders, read with suspicion; `clsight.saving` writes them.

A folder holds `config.json` (settings, class names, checksum), `model.safetensors`, and optionally
`examples.safetensors`. Reading runs no code from the files, and allocates no more than the files hold.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from clsight.errors import CheckpointError, ClsightError
from clsight.models import ClassificationTransformer, ModelConfig

FORMAT: Final = "clsight"
FORMAT_VERSION: Final = 1
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
EXAMPLES_FILE: Final = "examples.safetensors"
_NUMPY_DTYPES: Final = (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)


@dataclass(frozen=True)
class Checkpoint:
    """What a model folder holds.

    Attributes:
        model: The model in eval mode, on the CPU.
        classes: A name per class.
        arrays: The examples' arrays by name; empty if the folder has none.
        sha256: Of the weights file, in hexadecimal.
        settings: The whole of `config.json`.
    """

    model: ClassificationTransformer
    classes: tuple[str, ...]
    arrays: dict[str, np.ndarray[Any, Any]]
    sha256: str
    settings: dict[str, Any]


def read_model(path: str | Path) -> Checkpoint:
    """Read a model folder.

    Args:
        path: A folder that `save_model` wrote.

    Returns:
        The model in eval mode with its examples and checksum.

    Raises:
        CheckpointError: If the folder is missing or foreign, a file is broken, or the weights do not fit the
            settings, hold NaN or infinity, or have changed since they were saved.
    """
    folder = as_path(path)
    settings = _read_settings(folder)
    data = _read_bytes(folder / WEIGHTS_FILE)
    weights = _parse_tensors(folder / WEIGHTS_FILE, data)
    model = _empty_model(folder, settings)
    _check_weights(folder / WEIGHTS_FILE, weights, model.state_dict())
    sha256 = hashlib.sha256(data).hexdigest()
    saved = settings.get("weights_sha256", sha256)
    if not isinstance(saved, str):
        raise CheckpointError(
            "weights_sha256",
            expected="a checksum in hexadecimal, as text",
            got=json.dumps(saved),
            where=f"In {folder / CONFIG_FILE}",
            next_step="Copy the folder anew from its source",
        )
    if saved != sha256:
        raise CheckpointError(
            str(folder / WEIGHTS_FILE),
            expected="the weights that were saved",
            got="a file with another checksum",
            where=f"`weights_sha256` in {CONFIG_FILE}",
            next_step="Copy the folder anew from its source",
        )
    model.load_state_dict(weights, assign=True)
    classes = _read_classes(folder, settings, model.config.classes)
    return Checkpoint(model.eval(), classes, _read_arrays(folder), sha256, settings)


def as_path(path: object) -> Path:
    """Return the path a user gave, or refuse what is none."""
    if not isinstance(path, str | os.PathLike):
        raise CheckpointError(
            "model",
            expected="the path of a model folder",
            got=repr(path) if path is None else f"an object of type {type(path).__name__}",
            next_step="Pass a str or a pathlib.Path, such as clsight.sample_models_dir() / 'digits-learned'",
        )
    return Path(path)


def _read_settings(folder: Path) -> dict[str, Any]:
    """Return `config.json` of a folder that clsight wrote."""
    from clsight.loading.plain_files import read_json

    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such path"
        step = "Pass a folder such as sample_models/digits-learned"
        raise CheckpointError(str(folder), expected="a model folder", got=got, next_step=step)
    file = folder / CONFIG_FILE
    if not file.is_file():
        got = f"a folder without {CONFIG_FILE}"
        step = "Name the file of weights in it, if there is one; docs/loading.md lists what can be loaded"
        raise CheckpointError(str(folder), expected="a clsight model folder", got=got, next_step=step)
    settings = read_json(file)
    if settings.get("format") != FORMAT:
        got = "settings of another library"
        step = "Name the file of weights in it, if there is one; docs/loading.md lists what can be loaded"
        raise CheckpointError(str(file), expected=f'`"format": "{FORMAT}"`', got=got, next_step=step)
    if settings.get("format_version") != FORMAT_VERSION:
        got = repr(settings.get("format_version"))
        step = "Install the clsight version that wrote the folder"
        raise CheckpointError(str(file), expected=f"format_version {FORMAT_VERSION}", got=got, next_step=step)
    return settings


def _read_bytes(file: Path) -> bytearray:
    from clsight.loading.plain_files import read_bytes

    return read_bytes(file)


def _parse_tensors(file: Path, data: bytearray) -> dict[str, Tensor]:
    from clsight.loading.refusals import RefusedError  # at the top it would import this module in turn
    from clsight.loading.safetensors_files import parse_safetensors

    try:
        return parse_safetensors(data)[0]
    except RefusedError as error:
        got = f"{len(data)} bytes that are not ({error})"
        step = "Copy the folder anew from its source"
        raise CheckpointError(
            str(file), expected="a whole safetensors file", got=got, next_step=step
        ) from error


def _empty_model(folder: Path, settings: Mapping[str, Any]) -> ClassificationTransformer:
    """Return the model that the settings describe, its weights on the meta device: shapes without memory."""
    values = settings.get("model")
    if not isinstance(values, dict):
        got = type(values).__name__
        raise CheckpointError(
            str(folder / CONFIG_FILE), expected="settings in `model`", got=got, next_step="Restore the file"
        )
    try:
        config = ModelConfig.from_dict(values)
        with torch.device("meta"):
            return ClassificationTransformer(config)
    except ClsightError as error:
        raise CheckpointError(
            error.subject,
            expected=error.expected,
            got=error.got,
            where=f"In {folder / CONFIG_FILE}",
            next_step=error.next_step,
        ) from error


def _check_weights(file: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fit the model, or hold numbers that are none."""
    step = f"Check that {CONFIG_FILE} belongs to these weights"
    missing, unexpected = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unexpected:
        got = "; ".join(
            f"{what} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            for what, names in (("missing", missing), ("unexpected", unexpected))
            if names
        )
        raise CheckpointError(str(file), expected="the model's tensors", got=got, next_step=step)
    for name, tensor in weights.items():
        want = expected[name]
        if tensor.shape != want.shape or not tensor.is_floating_point():
            raise CheckpointError(
                f"tensor {name}",
                expected=f"floating {list(want.shape)}",
                got=f"{tensor.dtype} {list(tensor.shape)}",
                where=f"In {file}",
                next_step=step,
            )
        if not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            got = f"{bad} of {tensor.numel()} that are NaN or infinite"
            step = "Train again, or restore an earlier checkpoint"
            raise CheckpointError(
                f"tensor {name}", expected="finite numbers", got=got, where=f"In {file}", next_step=step
            )
    if len({tensor.dtype for tensor in weights.values()}) > 1:
        got = ", ".join(sorted({str(tensor.dtype) for tensor in weights.values()}))
        raise CheckpointError(str(file), expected="tensors of one dtype", got=got, next_step="Convert them")


def _read_classes(folder: Path, settings: Mapping[str, Any], count: int) -> tuple[str, ...]:
    names = settings.get("classes", [])
    check_classes(names, count, folder / CONFIG_FILE)
    return tuple(names)


def check_classes(names: Any, count: int, file: Path) -> None:
    """Raise CheckpointError unless there are `count` class names, all of them text."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        got: str = type(names).__name__
    elif len(names) != count:
        got = f"{len(names)} of them"
    else:
        return
    raise CheckpointError(
        str(file), expected=f"{count} class names in `classes`", got=got, next_step="Give one name per class"
    )


def _read_arrays(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    file = folder / EXAMPLES_FILE
    if not file.exists():
        return {}
    tensors = _parse_tensors(file, _read_bytes(file))
    for name, tensor in tensors.items():
        if tensor.dtype not in _NUMPY_DTYPES:
            step = "Write the examples anew, as float32 or int64"
            got = str(tensor.dtype)
            raise CheckpointError(
                f"array {name}", expected="a NumPy dtype", got=got, where=f"In {file}", next_step=step
            )
    return {name: tensor.numpy() for name, tensor in tensors.items()}
