"""Tensors out of a file that `torch.save` wrote: a zip archive, or what it wrote before torch 1.6."""

import io
import struct
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from clsight.loading.archives import Member, members
from clsight.loading.claims import StorageClaim, TensorClaim, numbers_at
from clsight.loading.pickles import LARGEST_PICKLE, RESAVE, Pickle, read_pickle
from clsight.loading.refusals import RefusedError, quoted

OLD_START: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of a file by `torch.save` before 1.6: the pickle of a magic number."""
_OLD_PROTOCOL: Final = 1001
_LONGEST_NAME: Final = 500
_MOST_TENSORS: Final = 100_000
_MOST_TIMES: Final = 100
_TRAINING: Final = ("optim", "lr_sched", "scheduler", "callbacks", "loops", "scaler", "amp", "rng", "random")
"""Beginnings of names, at the top of a checkpoint, of what only training goes on with."""
_CONVERT: Final = (
    "If the file is yours, three lines convert it: `import torch`, "
    "`model = torch.load('{file}', weights_only=False)`, `torch.save(model.state_dict(), 'weights.pt')`"
)
_NOTHING: Final = object()
Locate = Callable[[StorageClaim], int]
"""Gives the position of a storage's first byte in the file."""


def parse_torch(data: bytearray) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors by name and the plain values beside them. The tensors lie in `data`.

    What only training goes on with, such as `optimizer_states`, is left out.

    Args:
        data: The whole file.

    Raises:
        RefusedError: If it is broken, holds more than tensors and plain values, or claims what it does not
            hold.
    """
    is_old = data.startswith(OLD_START)
    value, locate = _old(data) if is_old else _archive(data)
    if not isinstance(value, dict):
        got = "one tensor" if isinstance(value, TensorClaim) else quoted(value)
        raise RefusedError("a dict of tensors", got, "Save `model.state_dict()`")
    claims: dict[str, TensorClaim] = {}
    extras = _sorted_out({name: inner for name, inner in value.items() if _is_kept(name, inner)}, "", claims)
    if is_old:
        _check_whole(claims)
    return _tensors(data, claims, locate), extras


def _is_kept(name: object, value: Any) -> bool:
    """Tell whether an item at the top is wanted; a tensor is, also one of a part named `scaler`."""
    return isinstance(value, TensorClaim) or not str(name).lower().startswith(_TRAINING)


def _check_whole(claims: dict[str, TensorClaim]) -> None:
    """Refuse a storage that no tensor fills: without checksums a damaged shape shows only here."""
    filled = {claim.storage for claim in claims.values() if claim.is_whole}
    for name, claim in claims.items():
        if claim.storage not in filled:
            step = "If the file is yours, open it with `torch.load` and save it again with a later torch"
            raise RefusedError(f"a tensor that fills its storage at {quoted(name)}", "a part", step)


def _archive(data: bytearray) -> tuple[Any, Locate]:
    if b"/constants.pkl" in data:  # before the members, which TorchScript compresses
        step = _CONVERT.replace("torch.load('{file}', weights_only=False)", "torch.jit.load('{file}')")
        raise RefusedError("a state dict", "a TorchScript archive, which holds code", step)
    found = members(data)
    if "data.pkl" not in found:
        raise RefusedError("an archive that `torch.save` wrote", "one without `data.pkl`")
    if "byteorder" in found and _bytes_of(data, found["byteorder"]) != b"little":
        raise RefusedError("numbers with the low byte first", "another order", "Save it on a usual machine")
    if found["data.pkl"].size > LARGEST_PICKLE:
        raise RefusedError(f"a pickle of at most {LARGEST_PICKLE:,} bytes", f"{found['data.pkl'].size:,}")
    stream = io.BytesIO(_bytes_of(data, found["data.pkl"]))
    value = _read(stream).value
    if stream.read(1):
        raise RefusedError("one pickle in `data.pkl`", "more behind it")

    def locate(claim: StorageClaim) -> int:
        member = found.get(f"data/{claim.key}")
        if member is None or member.size != claim.nbytes:
            got = "none" if member is None else f"{member.size:,}"
            raise RefusedError(f"{claim.nbytes:,} bytes in member {quoted(f'data/{claim.key}')}", got)
        return member.start

    return value, locate


def _bytes_of(data: bytearray, member: Member) -> bytes:
    return bytes(data[member.start : member.start + member.size])


def _read(stream: io.BytesIO) -> Pickle:
    """Return what the next pickle says, and say so if it is a whole module."""
    try:
        return read_pickle(stream)
    except RefusedError as error:
        text = stream.getbuffer()
        if error.next_step == RESAVE and b"_modules" in bytes(text) and b"_parameters" in bytes(text):
            got = f"a whole pickled module, which names code to run ({error.got})"
            raise RefusedError("a state dict", got, _CONVERT) from error
        raise


def _old(data: bytearray) -> tuple[Any, Locate]:
    """Read what follows the magic number: protocol, machine, object, storage names, then the storages."""
    stream = io.BytesIO(bytes(data[: 2 * LARGEST_PICKLE]))
    stream.seek(len(OLD_START))
    protocol, machine, found, keys = [_read(stream) for _ in range(4)]
    little = isinstance(machine.value, dict) and machine.value.get("little_endian") is True
    if protocol.value != _OLD_PROTOCOL or not little:
        raise RefusedError("numbers with the low byte first", "another format", "Save it on a usual machine")
    if not isinstance(keys.value, list) or sorted(map(str, keys.value)) != sorted(found.storages):
        raise RefusedError("the storages that the tensors name", "others")
    starts, place = {}, stream.tell()
    for key in keys.value:
        claim = found.storages[key]
        if place + 8 > len(data) or struct.unpack_from("<q", data, place) != (claim.numel,):
            raise RefusedError(f"{claim.numel:,} numbers in storage {quoted(key)}", "another count")
        starts[key] = place + 8
        place += 8 + claim.nbytes
    if place != len(data):
        raise RefusedError(f"{place:,} bytes, as its storages say", f"{len(data):,}")
    return found.value, lambda claim: starts[claim.key]


def _sorted_out(value: Any, name: str, claims: dict[str, TensorClaim]) -> Any:
    """Put the tensors into `claims` by their joined names, and return what else there is."""
    if len(name) > _LONGEST_NAME:
        raise RefusedError(f"names of up to {_LONGEST_NAME} characters", quoted(name))
    if isinstance(value, TensorClaim):
        if name in claims or len(claims) >= _MOST_TENSORS:
            raise RefusedError(f"at most {_MOST_TENSORS:,} tensors, one per name", f"{quoted(name)} again")
        claims[name] = value
        return _NOTHING
    if isinstance(value, list | tuple):
        inside = [_sorted_out(inner, _joined(name, place), claims) for place, inner in enumerate(value)]
        left = [inner for inner in inside if inner is not _NOTHING]
        return left if left or not value else _NOTHING
    if isinstance(value, dict):
        return _items(value, name, claims)
    if isinstance(value, torch.dtype):
        return str(value)
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    raise RefusedError("tensors and plain values", f"{quoted(value)} at {quoted(name)}", RESAVE)


def _items(value: dict[Any, Any], name: str, claims: dict[str, TensorClaim]) -> Any:
    rest: dict[str, Any] = {}
    for key, inner in value.items():
        left = _sorted_out(inner, _joined(name, key), claims)
        if str(key) in rest:
            raise RefusedError("one value per name", f"{quoted(_joined(name, key))} twice")
        if left is not _NOTHING:
            rest[str(key)] = left
    return rest if rest or not value or not name else _NOTHING


def _joined(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _tensors(data: bytearray, claims: dict[str, TensorClaim], locate: Locate) -> dict[str, Tensor]:
    """Return the claimed tensors; those that share a storage in the file share it here."""
    said = sum(claim.nbytes for claim in claims.values())
    if said > _MOST_TIMES * len(data):
        raise RefusedError(
            f"tensors of at most {_MOST_TIMES} times the file's size", f"{said:,} bytes of them"
        )
    places = {claim.storage: locate(claim.storage) for claim in claims.values()}
    storages: dict[tuple[str, torch.dtype], Tensor] = {}
    tensors = {}
    for name, claim in claims.items():
        kind = (claim.storage.key, claim.dtype)
        if kind not in storages:
            count = claim.storage.nbytes // claim.dtype.itemsize
            storages[kind] = numbers_at(data, places[claim.storage], count, claim.dtype)
        tensors[name] = storages[kind].as_strided(claim.size, claim.stride, claim.offset)
    return tensors
