"""Pickles that run nothing, and yet ask for too much, or claim what their file does not hold."""

import math
import struct
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torch_archives import Calls, OtherReference, StorageRef, archive, claim, pickled, saved, weights

HUGE = 10**12


def tensor_claims() -> dict[str, bytes]:
    """Return torch files with one tensor that is not as its storage of 12 floats (48 bytes) allows."""
    claims = _shapes() | _storages()
    found = {name: archive(pickled({"weight": made})) for name, made in claims.items()}
    many = {f"{index}": claim((2**18,), (1,), numel=2**18) for index in range(5000)}
    found["views of everything"] = archive(pickled(many), {"0": bytes(2**20)})
    found["truth value 2"] = archive(pickled({"mask": claim(type=torch.BoolStorage)}), {"0": bytes([2] * 12)})
    return found


def _shapes() -> dict[str, Any]:
    return {
        "a trillion by stride 0": claim((HUGE,), (0,)),
        "a trillion by stride 1": claim((HUGE,), (1,)),
        "a trillion by two strides 0": claim((10**6, 10**6), (0, 0)),
        "more by stride 0": claim((13,), (0,)),
        "windows that overlap": claim((5, 4), (1, 1)),
        "negative stride": claim((3, 4), (-4, 1), 11),
        "negative size": claim((-3, 4), (4, 1)),
        "two negative sizes": claim((-3, -4), (4, 1)),
        "negative offset": claim((3, 4), (4, 1), -1),
        "offset behind": claim((3, 4), (4, 1), 1),
        "offset far behind": claim((1,), (1,), 2**62),
        "empty far behind": claim((0,), (1,), 2**61),
        "stride beyond": claim((3, 4), (5, 1)),
        "stride of 64 bits": claim((2,), (2**63 - 1,)),
        "sizes that wrap round": claim((2**32, 2**32), (1, 1)),
        "empty with sizes that wrap round": claim((0, 2**62, 2**62), (1, 1, 1)),
        "size of 100 bits": claim((2**100,), (1,)),
        "fewer strides": claim((3, 4), (1,)),
        "no strides": claim((3, 4), ()),
        "size as text": claim("34", (4, 1)),
        "size as list": claim([3, 4], (4, 1)),
        "size as floats": claim((3.0, 4.0), (4, 1)),
        "size as truth values": claim((True, True), (1, 1)),
        "offset as none": claim((3, 4), (4, 1), None),
        "a thousand dimensions": claim((1,) * 1000, (1,) * 1000),
    }


def _storages() -> dict[str, Any]:
    return {
        "storage with more": claim(numel=13),
        "storage with fewer": claim(numel=11),
        "storage with a trillion": claim(numel=HUGE),
        "storage with negative numbers": claim(numel=-12),
        "storage with truth value": claim(numel=True),
        "storage with text": claim(numel="12"),
        "storage of doubles": claim(type=torch.DoubleStorage),
        "storage of a tensor": claim(type=Tensor),
        "storage of a quantized kind": claim(type=torch.QInt8Storage),
        "storage that is missing": claim(key="1"),
        "storage outside": claim(key="../data.pkl"),
        "storage that is the pickle": claim(key="/../../data.pkl"),
        "storage by number": claim(key=0),
        "storage of another view": claim(more=(("0", 0, 12),)),
        "storage twice as two kinds": [claim(), claim(type=torch.IntStorage)],
        "reference to nothing": OtherReference(()),
        "reference to a text": OtherReference("storage"),
        "reference to itself": OtherReference((("storage",) * 2,) * 2),
        "tensor of a number": Calls(torch._utils._rebuild_tensor_v2, 5, 0, (1,), (1,), False, OrderedDict()),
        "tensor with one argument": Calls(torch._utils._rebuild_tensor_v2, StorageRef()),
        "bytes of another kind": Calls(
            torch._utils._rebuild_tensor_v3, StorageRef(), 0, (3,), (1,), False, OrderedDict(), torch.float64
        ),
        "parameter of a text": Calls(torch._utils._rebuild_parameter, "a", True, OrderedDict()),
    }


def other_tensors() -> dict[str, bytes]:
    """Return what `torch.save` writes of values that are no plain tensors, or no dict of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to drop quantized tensors, files that hold them stay
        quantized = torch._empty_affine_quantized([3], scale=0.1, zero_point=0, dtype=torch.qint8)
    subclass = type("Tagged", (Tensor,), {"__module__": "torch", "__qualname__": "Tensor.Tagged"})
    Tensor.Tagged = subclass  # type: ignore[attr-defined]
    values: dict[str, Any] = {
        "sparse": torch.ones(3).to_sparse(),
        "sparse by rows and columns": torch.eye(4).to_sparse(),
        "quantized": quantized,
        "meta": torch.empty(10**9, device="meta"),
        "subclass": torch.ones(3).as_subclass(subclass),
        "with attributes": _with_attribute(torch.ones(3)),
        "conjugated": torch.ones(3, dtype=torch.complex64).conj(),
        "expanded": torch.ones(1).expand(10**12),
        "module inside": nn.Linear(2, 3),
        "generator state class": torch.float32.__class__,
        "storage alone": torch.ones(3).untyped_storage(),
        "class of storages": torch.FloatStorage,
        "NumPy array": np.ones(3),
        "NumPy text": np.str_("a"),
        "set": {1, 2},
        "complex number": 1j,
        "date": np.datetime64("2020-01-01"),
        "long number": 2**80,
    }
    tops = {"a tensor": torch.ones(3), "a list": [torch.ones(3)], "a module": nn.Linear(2, 3), "a text": "x"}
    whole = {name: {"weight": torch.ones(2), "other": value} for name, value in values.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {name: saved(value) for name, value in (whole | tops | {"nothing": {}}).items()}
    del Tensor.Tagged  # type: ignore[attr-defined]
    return found


def _with_attribute(tensor: Tensor) -> Tensor:
    tensor.note = "here"  # type: ignore[attr-defined]
    return tensor


_START, _STOP = b"\x80\x02", b"."


def bombs() -> dict[str, bytes]:
    """Return torch files whose pickle is small and asks for much, or is none."""
    return {name: archive(text) for name, text in (_large_pickles() | _broken_pickles()).items()}


def _large_pickles() -> dict[str, bytes]:
    start, stop = _START, _STOP
    laughs: list[Any] = []
    for _ in range(60):
        laughs = [laughs, laughs]
    colliding = b"".join(b"\x8a\x08" + struct.pack("<Q", index << 44) + b"N" for index in range(100_000))
    return {
        "doubled sixty times": pickled({"laughs": laughs, "weight": claim()}),
        "tuples in tuples": start + b")" + b"\x85" * 400_000 + stop,
        "lists in lists": start + b"]" * 200_000 + b"a" * 199_999 + stop,
        "dicts in dicts": start + b"}" + b"X\x01\x00\x00\x00a}" * 100_000 + b"s" * 100_000 + stop,
        "tuples as a key": start + b"})" + b"\x85" * 400_000 + b"Ns" + stop,
        "a list that holds itself": start + b"}X\x01\x00\x00\x00a]q\x00h\x00as" + stop,
        "a dict that holds itself": start + b"}q\x00X\x01\x00\x00\x00ah\x00s" + stop,
        "ten million lists": start + b"](" + b"]" * 10_000_000 + b"e" + stop,
        "ten million nones": start + b"(" + b"N" * 10_000_000 + b"t" + stop,
        "ten million marks": start + b"(" * 10_000_000 + stop,
        "a note far away": start + b"}r\xff\xff\xff\x7f" + stop,
        "a note far away by text": start + b"}p99999999999999999999\n" + stop,
        "text of four gigabytes": start + b"X\xff\xff\xff\xff" + stop,
        "text of exabytes": b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + stop,
        "bytes of exabytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + stop,
        "byte array of exabytes": b"\x80\x05\x96" + struct.pack("<Q", 2**60) + stop,
        "frame of exabytes": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"}" + stop,
        "number of a megabyte": start
        + b"}X\x01\x00\x00\x00a\x8b"
        + struct.pack("<i", 2**20)
        + bytes([7]) * 2**20
        + b"s"
        + stop,
        "number of negative length": start + b"\x8b" + struct.pack("<i", -5) + stop,
        "number of many digits": start + b"L" + b"9" * 1_000_000 + b"L\n" + stop,
        "keys that collide": start + b"}(" + colliding + b"u" + stop,
        "name that never ends": start + b"c" + b"a" * 1_000_000,
    }


def _broken_pickles() -> dict[str, bytes]:
    start, stop = _START, _STOP
    return {
        "no stop": start + b"}",
        "nothing": b"",
        "stop alone": stop,
        "two values": start + b"}}" + stop,
        "a mark": start + b"(" + stop,
        "tuple without a mark": start + b"t" + stop,
        "pair of one": start + b"N\x86" + stop,
        "call of a number": start + b"K\x05)R" + stop,
        "call without a tuple": start + b"ccollections\nOrderedDict\n]R" + stop,
        "items in a list": start + b"]NNs" + stop,
        "items that are odd": start + b"}(Nu" + stop,
        "appended to a tuple": start + b")Na" + stop,
        "attributes of a list": start + b"]}b" + stop,
        "a note that nobody made": start + b"h\x07" + stop,
        "extension": start + b"\x82\x01" + stop,
        "later protocol": b"\x80\x09}" + stop,
        "text that is no UTF-8": start + b"X\x02\x00\x00\x00\xff\xfe" + stop,
        "unknown instruction": start + b"}\xff" + stop,
        "two pickles": start + b"}" + stop + start + b"}" + stop,
        "buffer from outside": b"\x80\x05\x97" + stop,
        "long name": pickled({"a" * 10_000: claim()}),
        "names that meet": pickled({"a": {"b": claim()}, "a.b": claim()}),
        "names of two kinds": pickled({"x": {1: 2, "1": 3}, "w": claim()}),
        "kind of NumPy objects": pickled({"x": np.float64(1), "w": claim()}).replace(b"f8", b"O8"),
        "NumPy scalar of few bytes": pickled({"x": np.float64(1), "w": claim()}).replace(b"f8", b"f4"),
    }


def honest_files() -> dict[str, tuple[dict[str, Tensor], bytes]]:
    """Return files that must load, though they are unusual, with their tensors."""
    plain = weights()
    shared = torch.randn(4, 6)
    views = {"all": shared, "left": shared[:, :3], "row": shared[2], "turned": shared.T, "again": shared}
    nested = {"state_dict": plain, "epoch": 3, "hyper_parameters": {"lr": 0.1, "betas": (0.9, 0.99)}}
    below = {f"state_dict.{name}": tensor for name, tensor in plain.items()}
    special = {"w": torch.tensor([math.nan, math.inf, -math.inf, -0.0])}
    kinds = {
        str(dtype): torch.ones(3).to(dtype)
        for dtype in (torch.float64, torch.int8, torch.int16, torch.uint8, torch.uint16, torch.complex64)
    }
    parameter = {"w": nn.Parameter(plain["encoder.layer.0.weight"])}
    return {
        "state dict": (plain, saved(plain)),
        "protocol 4": (plain, saved(plain, pickle_protocol=4)),
        "protocol 5": (plain, saved(plain, pickle_protocol=5)),
        "old": (plain, saved(plain, _use_new_zipfile_serialization=False)),
        "views of one storage": (views, saved(views)),
        "nested": (below, saved(nested)),
        "NaN and infinity": (special, saved(special)),
        "kinds": (kinds, saved(kinds)),
        "parameter": ({"w": parameter["w"].detach()}, saved(parameter)),
        "made by hand": (
            {"w": torch.arange(12.0).reshape(3, 4)},
            archive(pickled({"w": claim()})),
        ),
        "settings with objects": (
            plain,
            saved(plain | {"acc": np.float64(0.5), "size": torch.Size([2]), "kind": torch.float16}),
        ),
        "another archive inside": (
            {"w": torch.arange(12.0).reshape(3, 4)},
            archive(pickled({"w": claim()}), **{"data/1": archive(b"")}),
        ),
        "long storage key": (
            {"w": torch.arange(12.0).reshape(3, 4)},
            archive(
                pickled({"w": claim(key="k" * 99)}), {"k" * 99: np.arange(12, dtype=np.float32).tobytes()}
            ),
        ),
    }
