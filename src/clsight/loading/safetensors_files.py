"""Tensors out of a safetensors file: a length, a JSON header, then numbers without a gap."""

import struct
from typing import Any, Final

import torch
from torch import Tensor

from clsight.loading.claims import numbers_at, room_for
from clsight.loading.plain_files import json_of
from clsight.loading.refusals import RefusedError, quoted

LARGEST_HEADER: Final = 4 * 2**20
_LONGEST_NAME: Final = 500
_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def is_safetensors(start: bytes | bytearray) -> bool:
    """Tell from the first nine bytes of a file or more whether it may be one."""
    return len(start) >= 9 and start[8:9] == b"{" and start[4:8] == bytes(4)


def parse_safetensors(data: bytearray) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors by name, and the texts beside them. The tensors lie in `data`.

    Args:
        data: The whole file.

    Raises:
        RefusedError: If header and file do not agree to the byte, the header is no JSON, or a dtype is
            none of torch's.
    """
    header, first = _header(data)
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise RefusedError("texts in `__metadata__`", "something else")
    entries = sorted((_entry(name, entry) for name, entry in header.items()), key=lambda entry: entry[:2])
    tensors, place = {}, 0
    for start, stop, name, dtype, shape in entries:
        if start != place:
            raise RefusedError(
                "tensors that lie one behind the other", f"a gap or an overlap at {quoted(name)}"
            )
        if first + stop > len(data):
            break
        place = stop
        numbers = numbers_at(data, first + start, (stop - start) // dtype.itemsize, dtype)
        tensors[name] = numbers.reshape(shape)
    said = max((stop for _, stop, *_ in entries), default=0)
    if first + said != len(data):
        raise RefusedError(f"{said:,} bytes of numbers, as the header says", f"{len(data) - first:,}")
    return {name: tensors[name] for name in header}, texts


def _header(data: bytearray) -> tuple[dict[str, Any], int]:
    length = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 0
    if not 2 <= length <= LARGEST_HEADER or 8 + length > len(data):
        raise RefusedError(
            f"a header within the file, of at most {LARGEST_HEADER:,} bytes", f"{length:,} in {len(data):,}"
        )
    try:
        header = json_of(bytes(data[8 : 8 + length]))
    except ValueError as error:
        raise RefusedError("a header of JSON", f"text that is not ({error})") from error
    if not isinstance(header, dict):
        raise RefusedError("a header that is a JSON object", type(header).__name__)
    return header, 8 + length


def _entry(name: str, entry: Any) -> tuple[int, int, str, torch.dtype, list[int]]:
    """Return start, end, name, dtype and shape of a tensor, if they agree."""
    if len(name) > _LONGEST_NAME or not isinstance(entry, dict):
        raise RefusedError(f"names of up to {_LONGEST_NAME} characters, with an object each", quoted(name))
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise RefusedError("`dtype`, `shape` and `data_offsets` of each tensor", f"others at {quoted(name)}")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise RefusedError(f"one of {', '.join(_DTYPES)} at {quoted(name)}", quoted(kind))
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise RefusedError(f"a shape and two offsets at {quoted(name)}", "something else")
    start, stop = offsets
    if type(start) is not int or type(stop) is not int or start < 0:
        raise RefusedError(f"two positions at {quoted(name)}", "something else")
    room = room_for(shape, _DTYPES[kind])
    if stop - start != room:
        raise RefusedError(f"{room:,} bytes for {quoted(name)}, as its shape says", f"{quoted(stop - start)}")
    return start, stop, name, _DTYPES[kind], shape
