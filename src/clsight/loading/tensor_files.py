"""A file of weights, whatever wrote it, as named tensors; nothing in the file runs."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from torch import Tensor

from clsight.errors import CheckpointError
from clsight.loading.plain_files import inside, read_bytes, read_json
from clsight.loading.refusals import RefusedError, quoted
from clsight.loading.safetensors_files import is_safetensors, parse_safetensors
from clsight.loading.torch_files import OLD_START, parse_torch

__all__ = ["TensorFile", "inside", "is_of_a_trainer", "read_json", "read_shards", "read_tensors"]

Kind = Literal["safetensors", "torch"]
_NO_WEIGHTS: Final = ("training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states")
"""Names, but for a number, of files that trainers write beside the weights: pickles of anything."""
_OTHERS: Final = {
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive",
    b"\x80": "a pickle that `torch.save` did not write",
    b"\x93NUM": "a NumPy array",
    b"version https://git-lfs": "a pointer of git-lfs in place of the file",
}
_SAVE: Final = "Save the weights with `torch.save(model.state_dict(), 'weights.pt')` or as safetensors"


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
    extras: dict[str, Any]
    sha256: str
    kind: Kind


def read_tensors(path: Path) -> TensorFile:
    """Return the tensors of a safetensors or torch file, told apart by content.

    The file is read once; what is hashed, checked and used are the same bytes. The tensors lie in them, so
    that reading takes hardly more memory than the file is large.

    Args:
        path: A file as `.safetensors`, `.pt`, `.pth`, `.ckpt` or `.bin`, by whatever name.

    Raises:
        CheckpointError: If it cannot be read, is broken or of another format, claims what it does not
            hold, names code, or is the state of a trainer (`training_args.bin`, `optimizer.pt`), which is not
            opened.
    """
    if is_of_a_trainer(path):
        raise CheckpointError(
            str(path),
            expected="a file of weights",
            got="the state of a trainer",
            next_step="Pass the weights",
        )
    data = read_bytes(path)
    try:
        tensors, extras, kind = _parse(data)
        if not tensors:
            raise RefusedError("tensors", "a file without any", _SAVE)
    except RefusedError as refused:
        raise refused.about(path) from refused
    return TensorFile(tensors, extras, hashlib.sha256(data).hexdigest(), kind)


def is_of_a_trainer(path: Path) -> bool:
    """Tell by its name whether a file is what a trainer keeps beside the weights."""
    return path.stem.lower().rstrip("_0123456789") in _NO_WEIGHTS


def _parse(data: bytearray) -> tuple[dict[str, Tensor], dict[str, Any], Kind]:
    if data.startswith((b"PK", OLD_START)):
        return *parse_torch(data), "torch"
    if is_safetensors(data[:9]):
        tensors, texts = parse_safetensors(data)
        return tensors, dict(texts), "safetensors"
    got = next(
        (name for start, name in _OTHERS.items() if data.startswith(start)),
        f"{len(data):,} bytes of another kind",
    )
    raise RefusedError("a file by `torch.save` or safetensors", got, _SAVE)


def read_shards(index_file: Path) -> TensorFile:
    """Return the tensors of all files that an index names, such as `model.safetensors.index.json`.

    Returns:
        All tensors. `sha256` is that of the files' checksums in the order of their names.

    Raises:
        CheckpointError: If the index is broken, names a file outside its folder, or does not list exactly the
            tensors that each file holds.
    """
    placed = read_json(index_file).get("weight_map")
    if (
        not isinstance(placed, dict)
        or not placed
        or not all(isinstance(name, str) for name in placed.values())
    ):
        raise CheckpointError(
            str(index_file),
            expected="file names in `weight_map`",
            got=quoted(placed),
            next_step="Restore the file",
        )
    files = {name: inside(index_file.parent, name) for name in sorted(set(placed.values()))}
    if len(set(files.values())) < len(files):
        raise CheckpointError(
            str(index_file), expected="one name per file", got="a link", next_step="Copy the folder anew"
        )
    parts: dict[str, TensorFile] = {}
    for name, file in files.items():
        parts[name] = read_tensors(file)
        listed = {tensor for tensor, place in placed.items() if place == name}
        if differing := sorted(listed ^ parts[name].tensors.keys()):
            raise CheckpointError(
                str(index_file.parent / name),
                expected=f"the {len(listed)} tensors that the index lists",
                got=f"others, such as {quoted(differing[0])}",
                where=f"In {index_file}",
                next_step="Copy the folder anew from its source",
            )
    kinds = {part.kind for part in parts.values()}
    tensors = {name: parts[place].tensors[name] for name, place in placed.items()}
    return TensorFile(tensors, {}, _joined_hash(part.sha256 for part in parts.values()), kinds.pop())


def _joined_hash(hashes: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(one) for one in hashes)).hexdigest()
