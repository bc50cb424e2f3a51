"""Torch files put together by hand, honest or not: the pickle, the members, the archive around them."""

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class StorageRef:
    """Stands for the persistent id of a storage."""

    key: Any = "0"
    numel: Any = 12
    type: Any = torch.FloatStorage
    more: tuple[Any, ...] = ()


class Calls:
    """Pickles as a call of a function with arguments, and nothing else."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, StorageRef):
            return ("storage", value.type, value.key, "cpu", value.numel, *value.more)
        return value.identity if isinstance(value, OtherReference) else None


@dataclass(frozen=True)
class OtherReference:
    """Stands for a persistent id of any content."""

    identity: Any


def pickled(value: Any, protocol: int = 2) -> bytes:
    """Return the pickle of a value with references to storages."""
    stream = io.BytesIO()
    _Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def claim(size: Any = (3, 4), stride: Any = (4, 1), offset: Any = 0, **reference: Any) -> Calls:
    """Return what pickles as a tensor that claims a place in a storage."""
    function = torch._utils._rebuild_tensor_v2
    return Calls(function, StorageRef(**reference), offset, size, stride, False, OrderedDict())


def archive(pickle_bytes: bytes, storages: dict[str, bytes] | None = None, **more: bytes) -> bytes:
    """Return a torch file with this pickle, these storages (by default 12 floats), and further members."""
    numbers = {"0": np.arange(12, dtype=np.float32).tobytes()} if storages is None else storages
    content = {"data.pkl": pickle_bytes, "byteorder": b"little", "version": b"3\n"}
    return zipped(content | {f"data/{key}": data for key, data in numbers.items()} | more)


def zipped(content: dict[str, bytes], method: int = zipfile.ZIP_STORED, folder: str = "archive/") -> bytes:
    """Return a zip archive with these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, data in content.items():
            made.writestr(f"{folder}{name}", data)
    return stream.getvalue()


def saved(value: Any, **options: Any) -> bytes:
    """Return what `torch.save` writes."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Return a small state dict, with shapes and kinds that all differ."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "encoder.layer.0.weight": torch.randn(5, 7, generator=generator),
        "encoder.layer.0.bias": torch.randn(5, generator=generator).to(torch.bfloat16),
        "encoder.turned": torch.randn(3, 4, generator=generator).T,
        "steps": torch.tensor(17),
        "mask": torch.tensor([True, False, True]),
        "empty": torch.empty(0, 3),
        "half": torch.randn(2, 3, generator=generator).half(),
    }
