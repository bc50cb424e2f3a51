"""Archives, safetensors files and files of other kinds that do not hold what they say."""

import gzip
import io
import json
import struct
import tarfile
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np
import torch
from torch import nn

from torch_archives import archive, claim, pickled, saved, weights, zipped

END, LOCAL, CENTRAL = b"PK\5\6", b"PK\3\4", b"PK\1\2"


def lying_archives() -> dict[str, bytes]:
    """Return zip archives with an honest pickle in a container that is not as it says."""
    honest, torchs = archive(pickled({"w": claim()})), saved(weights())
    twice = _twice("archive/data.pkl", pickled({"w": claim()}), pickled({"w": claim((4, 3), (3, 1))}))
    content = {"data.pkl": pickled({"w": claim()}), "data/0": bytes(48)}
    bomb = {"data.pkl": pickled({"w": claim(numel=2**29)}), "data/0": bytes(2**22)}
    found = {
        "deflated": zipped(content, zipfile.ZIP_DEFLATED),
        "deflated bomb": zipped(bomb, zipfile.ZIP_DEFLATED),
        "bzip2": zipped(content, zipfile.ZIP_BZIP2),
        "lzma": zipped(content, zipfile.ZIP_LZMA),
        "one name twice": twice,
        "no folder": zipped(content, folder=""),
        "absolute": zipped(content, folder="/"),
        "parent": zipped(content, folder="../"),
        "parent inside": zipped(content | {"../../x": b"1"}),
        "backslash": zipped(content | {"a\\b": b"1"}),
        "drive": zipped(content, folder="C:/"),
        "two folders": _twice("other/data.pkl", b"", b"", folder="archive/x"),
        "no pickle": zipped({"data/0": bytes(48)}),
        "high byte first": archive(pickled({"w": claim()}), byteorder=b"big"),
        "bytes in front": b"#!/bin/sh\n" + honest,
        "honest in front": honest + torchs,
        "torch in front": torchs + honest,
        "bytes behind": honest + b"\0",
        "bytes behind torch": torchs + b"more",
        "comment": _with_comment(honest),
        "no directory": honest[: honest.index(CENTRAL)],
        "directory alone": honest[honest.index(CENTRAL) :],
        "end alone": honest[honest.index(END) :],
        "nothing inside": zipped({}),
        "start alone": b"PK\3\4",
        "itself as pickle": archive(honest),
        "TorchScript": _torch_script(),
    }
    return found | _patched(honest) | _patched_64(torchs) | _overlapping()


def _overlapping() -> dict[str, bytes]:
    """Return archives whose members lie one in another, or with bytes between them that are in none."""
    floats, wanted = np.arange(12, dtype=np.float32).tobytes(), pickled({"w": claim()})
    pieces = {"archive/data.pkl": wanted, "archive/data/0": floats}
    inner = _local("archive/data/0", floats)
    around = {"archive/data.pkl": wanted, "archive/more": inner + b"tail"}
    place = len(_local("archive/data.pkl", wanted)) + len(_local("archive/more", b""))
    return {
        "bytes between members": _laid_out(pieces, between=b"hidden"),
        "a header between members": _laid_out(pieces, between=_local("archive/data/0", bytes(48))),
        "a member in a member": _laid_out(around, {"archive/data/0": (floats, place)}),
        "a member twice in the directory": _laid_out(pieces, {"archive/data.pkl": (wanted, 0)}),
    }


def _laid_out(
    pieces: dict[str, bytes], more: dict[str, tuple[bytes, int]] | None = None, between: bytes = b""
) -> bytes:
    """Return an archive of these members; the directory names more, at the places that are given."""
    data, entries = b"", []
    for name, piece in pieces.items():
        entries.append(_central(name, piece, len(data)))
        data += _local(name, piece) + between
    entries += [_central(name, piece, place) for name, (piece, place) in (more or {}).items()]
    directory = b"".join(entries)
    sizes = (len(entries), len(entries), len(directory), len(data), 0)
    return data + directory + struct.pack("<4s4H2IH", END, 0, 0, *sizes)


def _local(name: str, data: bytes) -> bytes:
    sizes = (zlib.crc32(data), len(data), len(data), len(name), 0)
    return struct.pack("<4s5H3I2H", LOCAL, 20, 0, 0, 0, 0, *sizes) + name.encode() + data


def _central(name: str, data: bytes, place: int) -> bytes:
    sizes = (zlib.crc32(data), len(data), len(data), len(name), 0, 0, 0, 0, 0, place)
    return struct.pack("<4s6H3I5H2I", CENTRAL, 20, 20, 0, 0, 0, 0, *sizes) + name.encode()


def _twice(name: str, first: bytes, second: bytes, folder: str = "archive/") -> bytes:
    stream = io.BytesIO(zipped({"data/0": bytes(48)}, folder=folder))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "a") as made:
        warnings.simplefilter("ignore")  # zipfile warns of the second name
        made.writestr(name, first)
        made.writestr(name, second)
    return stream.getvalue()


def _with_comment(data: bytes) -> bytes:
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as made:
        made.comment = b"PK\5\6" + bytes(18)
    return stream.getvalue()


def _torch_script() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that TorchScript is old
        torch.jit.save(torch.jit.script(nn.Linear(2, 3)), stream)
    return stream.getvalue()


def _put(data: bytes, place: int, form: str, *values: int) -> bytes:
    return data[:place] + struct.pack(form, *values) + data[place + struct.calcsize(form) :]


def _patched(honest: bytes) -> dict[str, bytes]:
    """Return an archive with one field of its headers changed, in each of several ways."""
    end, directory = honest.index(END), honest.index(CENTRAL)
    second, numbers = honest.index(CENTRAL, directory + 4), honest.rindex(LOCAL)
    count, size, start = struct.unpack_from("<HII", honest, end + 10)
    return {
        "encrypted": _put(honest, directory + 8, "<H", 1),
        "flag of strong encryption": _put(honest, directory + 8, "<H", 0x40),
        "method in the directory": _put(honest, directory + 10, "<H", 8),
        "method in the header": _put(honest, 8, "<H", 8),
        "checksum in the directory": _put(honest, directory + 16, "<I", 7),
        "checksum in the header": _put(honest, 14, "<I", 7),
        "size of four gigabytes": _put(honest, directory + 20, "<2I", 2**32 - 2, 2**32 - 2),
        "size in 64 bits that is missing": _put(honest, directory + 20, "<2I", 2**32 - 1, 2**32 - 1),
        "unpacked size of a gigabyte": _put(honest, directory + 24, "<I", 2**30),
        "size of nothing": _put(honest, directory + 20, "<2I", 0, 0),
        "name longer": _put(honest, directory + 28, "<H", 60_000),
        "name shorter": _put(honest, directory + 28, "<H", 3),
        "name of nothing": _put(honest, directory + 28, "<H", 0),
        "extra longer": _put(honest, directory + 30, "<H", 60_000),
        "comment longer": _put(honest, directory + 32, "<H", 5),
        "disk": _put(honest, directory + 34, "<H", 1),
        "place of another member": _put(honest, second + 42, "<I", 0),
        "place behind the end": _put(honest, second + 42, "<I", 2**31),
        "place inside a member": _put(honest, second + 42, "<I", numbers + 35),
        "name in the header longer": _put(honest, 26, "<H", 60_000),
        "extra in the header longer": _put(honest, 28, "<H", 48),
        "count less": _put(honest, end + 8, "<2H", count - 1, count - 1),
        "count more": _put(honest, end + 8, "<2H", count + 1, count + 1),
        "count of all": _put(honest, end + 8, "<2H", 0xFFFF, 0xFFFF),
        "count here": _put(honest, end + 8, "<H", 1),
        "directory shorter": _put(honest, end + 12, "<I", size - 1),
        "directory longer": _put(honest, end + 12, "<I", size + 1),
        "directory elsewhere": _put(honest, end + 16, "<I", start - 1),
        "directory far away": _put(honest, end + 16, "<I", 2**32 - 1),
        "end of another disk": _put(honest, end + 4, "<H", 1),
        "null in a name": honest.replace(b"archive/version", b"archive/v\0rsion"),
        "name with a newline": honest.replace(b"archive/version", b"archive/v\nrsion"),
        "name that is no text": honest.replace(b"archive/version", b"archive/v\xffrsion"),
        "name in the header alone": honest.replace(b"archive/version", b"archive/varsion", 1),
    }


def _patched_64(honest: bytes) -> dict[str, bytes]:
    """Return a torch archive whose 64-bit directory says something else."""
    end, locator = honest.rindex(b"PK\6\6"), honest.rindex(b"PK\6\7")
    size, start = struct.unpack_from("<2Q", honest, end + 40)
    return {
        "64-bit count": _put(honest, end + 24, "<2Q", 2**60, 2**60),
        "64-bit count that differs": _put(honest, end + 24, "<2Q", 1, 1),
        "64-bit size": _put(honest, end + 40, "<Q", 2**60),
        "64-bit start": _put(honest, end + 48, "<Q", start - 1),
        "64-bit start and size": _put(honest, end + 40, "<2Q", size + 1, start - 1),
        "64-bit start that wraps round": _put(honest, end + 40, "<2Q", 2**64 - 1, start + size + 1),
        "64-bit length": _put(honest, end + 4, "<Q", 2**63),
        "64-bit disk": _put(honest, end + 16, "<I", 3),
        "locator elsewhere": _put(honest, locator + 8, "<Q", 0),
        "locator far away": _put(honest, locator + 8, "<Q", 2**63),
        "locator of two disks": _put(honest, locator + 16, "<I", 2),
        "no locator": honest[:locator] + bytes(20) + honest[locator + 20 :],
    }


def safetensors_file(header: Any, numbers: bytes = b"") -> bytes:
    """Return a safetensors file with this header: bytes, or what becomes JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


_GOOD: dict[str, Any] = {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}
_FLOATS = np.arange(12, dtype=np.float32).tobytes()


def lying_safetensors() -> dict[str, bytes]:
    """Return safetensors files whose header and numbers do not agree, or whose header is none."""
    found = {name: safetensors_file({"w": _GOOD | change}, _FLOATS) for name, change in _changed().items()}
    found |= {name: safetensors_file(header, _FLOATS) for name, header in _headers().items()}
    lengths = {
        "of exabytes": 2**62,
        "of nothing": 0,
        "of one": 1,
        "of all": 2**64 - 1,
        "too long by one": 113,
    }
    whole = safetensors_file({"w": _GOOD}, _FLOATS)
    found |= {f"header {name}": struct.pack("<Q", length) + whole[8:] for name, length in lengths.items()}
    return found | {"header of ten megabytes": safetensors_file(b"{" + b" " * 10_000_000 + b"}", _FLOATS)}


def _changed() -> dict[str, dict[str, Any]]:
    """Return changes of an honest entry, each of which makes it disagree with itself or the file."""
    return {
        "dtype unknown": {"dtype": "F33"},
        "dtype of four bits": {"dtype": "F4"},
        "dtype as number": {"dtype": 32},
        "dtype as list": {"dtype": ["F32"]},
        "dtype larger": {"dtype": "F64"},
        "shape of a trillion": {"shape": [10**12]},
        "shape negative": {"shape": [-3, -4]},
        "shape that wraps round": {"shape": [2**32, 2**32]},
        "shape of long numbers": {"shape": [10**400]},
        "shape as text": {"shape": "34"},
        "shape as floats": {"shape": [3.0, 4.0]},
        "shape as truth values": {"shape": [True, 12]},
        "shape of a thousand": {"shape": [1] * 1000},
        "shape nested": {"shape": [[3, 4]]},
        "no shape": {"shape": None},
        "offsets turned": {"data_offsets": [48, 0]},
        "offsets negative": {"data_offsets": [-48, 0]},
        "offsets behind": {"data_offsets": [48, 96]},
        "offsets far away": {"data_offsets": [2**62, 2**62 + 48]},
        "offsets of long numbers": {"data_offsets": [0, 10**400]},
        "offsets as floats": {"data_offsets": [0.0, 48.0]},
        "one offset": {"data_offsets": [48]},
        "three offsets": {"data_offsets": [0, 24, 48]},
        "more fields": {"code": "import os"},
    }


def _headers() -> dict[str, Any]:
    """Return headers of 48 bytes of numbers, each of which says something that cannot be."""
    good = _GOOD
    second = {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]}
    return {
        "overlapping": {"w": good, "v": second},
        "half overlapping": {"w": good, "v": second | {"shape": [6], "data_offsets": [24, 48]}},
        "gap": {
            "w": good | {"shape": [1], "data_offsets": [0, 4]},
            "v": second | {"shape": [1], "data_offsets": [44, 48]},
        },
        "numbers behind": {"w": good | {"shape": [11], "data_offsets": [0, 44]}},
        "gap in front": {"w": good | {"shape": [11], "data_offsets": [4, 48]}},
        "no tensors": {},
        "texts alone": {"__metadata__": {"a": "b"}},
        "texts as numbers": {"__metadata__": {"a": 1}, "w": good},
        "texts as list": {"__metadata__": [], "w": good},
        "a list": [good],
        "a number as tensor": {"w": 5},
        "a name that never ends": {"w" * 100_000: good},
        "a name twice": b'{"w":' + json.dumps(good).encode() + b',"w":' + json.dumps(second).encode() + b"}",
        "no JSON": b"{" + b"x" * 50,
        "half JSON": json.dumps({"w": good}).encode()[:-1],
        "not UTF-8": b'{"\xff":' + json.dumps(good).encode() + b"}",
        "NaN": b'{"w":NaN}',
        "deep": b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "deep as far as JSON goes": b'{"w":' + b"[" * 900 + b"]" * 900 + b"}",
        "four megabytes of lists": b'{"w":[' + b"[]," * 1_300_000 + b"[]]}",
        "truth values": {"w": {"dtype": "BOOL", "shape": [48], "data_offsets": [0, 48]}},
    }


def other_files() -> dict[str, bytes]:
    """Return files of other kinds, and none."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        made.addfile(tarfile.TarInfo("storages"))
    return {
        "empty": b"",
        "one byte": b"\x80",
        "zeros": bytes(100_000),
        "text": b"hello " * 1000,
        "JSON": b'{"model_type": "bert"}',
        "gzip": gzip.compress(saved(weights())),
        "tar": stream.getvalue(),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "GGUF": b"GGUF" + bytes(100),
        "NumPy": b"\x93NUMPY" + bytes(100),
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "noise": np.random.default_rng(0).bytes(10_000),
    }
