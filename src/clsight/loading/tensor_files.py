"""A file of weights, whatever wrote it, as named tensors; nothing in the file runs."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import torch as safetensors_torch
from torch import Tensor

from clsight.errors import CheckpointError
from clsight.loading.plain_files import inside, read_bytes, read_json

__all__ = ["TensorFile", "inside", "read_json", "read_shards", "read_tensors"]


@dataclass(frozen=True)
class TensorFile:
    """What a file of weights holds.

    Attributes:
        tensors: By name, on the CPU; names of nested dicts joined by dots.
        extras: Plain values beside them, such as `epoch` and `hyper_parameters`.
        sha256: Of the bytes that were read, in hexadecimal.
        kind: Which format.
    """

    tensors: dict[str, Tensor]
    extras: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    kind: Literal["safetensors", "torch"] = "torch"


def read_tensors(path: Path) -> TensorFile:
    """Return the tensors of a safetensors or torch file, told apart by content."""
    data = read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        if data[8:9] == b"{":
            return TensorFile(safetensors_torch.load(bytes(data)), {}, sha256, "safetensors")
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            str(path), expected="weights", got=str(error), next_step="Save it anew"
        ) from error
    tensors: dict[str, Tensor] = {}
    extras = _flatten(found, "", tensors)
    return TensorFile(tensors, extras or {}, sha256, "torch")


def _flatten(value: Any, prefix: str, tensors: dict[str, Tensor]) -> Any:
    rest = {}
    for key, inner in value.items():
        if isinstance(inner, Tensor):
            tensors[f"{prefix}{key}"] = inner
        elif isinstance(inner, dict):
            if left := _flatten(inner, f"{prefix}{key}.", tensors):
                rest[key] = left
        else:
            rest[key] = inner
    return rest


def read_shards(index_file: Path) -> TensorFile:
    """Return the tensors of all files that an index (`model.safetensors.index.json`) names."""
    tensors: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    kind: Literal["safetensors", "torch"] = "torch"
    for name in sorted(set(read_json(index_file)["weight_map"].values())):
        part = read_tensors(inside(index_file.parent, name))
        tensors |= part.tensors
        digest.update(bytes.fromhex(part.sha256))
        kind = part.kind
    return TensorFile(tensors, {}, digest.hexdigest(), kind)
