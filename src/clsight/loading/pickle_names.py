"""Which names may a pickle in a torch file use, and what does each stand for? Nothing else is known.

None of these is looked up in a module: each name stands for a function of this file, which checks what it
gets and returns a plain value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from clsight.loading.claims import StorageClaim, StorageType, TensorClaim, tensor_claim
from clsight.loading.refusals import RefusedError, quoted


@dataclass(frozen=True)
class Call:
    """A function or class that a pickle may call."""

    name: str
    result: Callable[..., Any]
    makes_dict: bool = False


@dataclass(frozen=True)
class NumpyKind:
    """The kind of a NumPy scalar, such as `f8`."""

    code: str


class Attributes(dict[str, Any]):
    """What an object with attributes holds, such as an `argparse.Namespace`."""


class Ordered(dict[Any, Any]):
    """What an `OrderedDict` holds; attributes of its own are left out (`_metadata` of a state dict)."""


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> TensorClaim:
    _check_rest(rest, "requires_grad", "hooks", "metadata")
    return tensor_claim(storage, offset, size, stride)


def _tensor_of_bytes(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> TensorClaim:
    grad, hooks, dtype, *metadata = rest
    _check_rest((grad, hooks, *metadata), "requires_grad", "hooks", "metadata")
    if not isinstance(dtype, torch.dtype):
        raise RefusedError("a dtype", quoted(dtype))
    if isinstance(storage, StorageClaim) and storage.dtype != torch.uint8:
        raise RefusedError("bytes", str(storage.dtype))
    return tensor_claim(storage, offset, size, stride, dtype)


def _parameter(tensor: Any, *rest: Any) -> TensorClaim:
    _check_rest(rest[:2], "requires_grad", "hooks")
    if not isinstance(tensor, TensorClaim) or len(rest) > 3:
        raise RefusedError("a parameter made of a tensor", quoted(tensor))
    return tensor


def _check_rest(values: tuple[Any, ...], *names: str) -> None:
    """Refuse hooks (code), and metadata such as a pending conjugation or sign change."""
    if len(values) > len(names):
        raise RefusedError(f"at most {', '.join(names)} behind a tensor's strides", f"{len(values)} values")
    for name, value in zip(names[1:], values[1:], strict=False):
        if value not in (None, {}):
            raise RefusedError(
                f"no {name} of a tensor", quoted(value), "Save it again with `tensor.resolve_conj()`"
            )


def _ordered(*args: Any) -> Ordered:
    if args not in ((), ([],)):
        raise RefusedError("an OrderedDict that is filled later", "one with arguments")
    return Ordered()


def _size(sizes: Any = ()) -> tuple[int, ...]:
    if not isinstance(sizes, tuple | list) or not all(type(value) is int for value in sizes):
        raise RefusedError("a torch.Size of whole numbers", quoted(sizes))
    return tuple(sizes)


def _text(*parts: Any) -> str:
    """Return a device, or a path that was pickled by its parts."""
    if not all(isinstance(part, str | int) for part in parts):
        raise RefusedError("a name", quoted(parts))
    return "/".join(str(part) for part in parts).replace("//", "/", 1)


def _bytes(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError("bytes as Latin-1 text", quoted(encoding))
    return text.encode("latin-1")  # UnicodeEncodeError is a ValueError: a broken pickle


def _numpy_kind(code: Any, *flags: Any) -> NumpyKind:
    if not isinstance(code, str) or code not in _NUMPY_CODES or len(flags) > 2:
        raise RefusedError("a NumPy scalar that is a number", quoted(code))
    return NumpyKind(code)


def _numpy_scalar(kind: Any, data: Any) -> float | int | bool:
    if not isinstance(kind, NumpyKind) or not isinstance(data, bytes):
        raise RefusedError("a NumPy scalar of a kind and its bytes", quoted(kind))
    if len(data) != int(kind.code[1]):
        raise RefusedError(f"{kind.code[1]} bytes of a NumPy scalar", f"{len(data)}")
    value: float | int | bool = np.frombuffer(data, dtype=f"<{kind.code}")[0].item()
    return value


_NUMPY_CODES: Final = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_STORAGES: Final = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_DTYPES: Final = (
    *_STORAGES.values(),
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)
_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "collections OrderedDict": _ordered,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "torch Size": _size,
    "torch device": _text,
    "_codecs encode": _bytes,
    "numpy dtype": _numpy_kind,
    "numpy.core.multiarray scalar": _numpy_scalar,
    "numpy._core.multiarray scalar": _numpy_scalar,
    "pathlib Path": _text,
    "pathlib PosixPath": _text,
    "pathlib PurePosixPath": _text,
    "pathlib WindowsPath": _text,
}
_WITH_ATTRIBUTES: Final = (
    "argparse Namespace",
    "types SimpleNamespace",
    "lightning.fabric.utilities.data AttributeDict",
    "lightning_fabric.utilities.data AttributeDict",
    "pytorch_lightning.utilities.parsing AttributeDict",
)

NAMES: Final[dict[str, Any]] = {
    **{f"torch {name}Storage": StorageType(dtype) for name, dtype in _STORAGES.items()},
    "torch.storage UntypedStorage": StorageType(torch.uint8),
    **{str(dtype).replace(".", " "): dtype for dtype in _DTYPES},
    **{name: Call(name, result, makes_dict=result is _ordered) for name, result in _CALLS.items()},
    **{name: Call(name, Attributes, makes_dict=True) for name in _WITH_ATTRIBUTES},
}
"""By `module name`, as a pickle spells it."""
