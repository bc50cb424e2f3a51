"""The bytes of a file that stands where it claims to stand, read once: names inside a folder, and JSON."""

import json
import os
import stat
from pathlib import Path
from typing import Any, Final

from clsight.errors import CheckpointError
from clsight.loading.plain_values import check_extent

LARGEST_JSON: Final = 4 * 2**20
"""Bytes of the largest configuration file that is read."""
_ANEW: Final = "Copy it anew from its source"


def read_bytes(path: Path, *, largest: int | None = None) -> bytearray:
    """Return the bytes of a regular file; what is checked later is what was read here.

    Args:
        path: The file; a link to a regular file is followed.
        largest: Most bytes to read; by default half of the machine's memory.

    Raises:
        CheckpointError: If there is no such file, it is a folder, a pipe or a device, it is too large, it
            shrinks or grows while it is read, or may not be read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to waits forever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                got = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
                raise _unreadable(path, got, "Pass the path of the file itself")
            with open(descriptor, "rb", closefd=False) as stream:
                return _read_whole(stream, path, status.st_size, _limit() if largest is None else largest)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(path, reason, "Restore the file or its permissions") from error


def _read_whole(stream: Any, path: Path, size: int, limit: int) -> bytearray:
    if size > limit:
        raise CheckpointError(
            str(path), expected=f"at most {limit:,} bytes", got=f"{size:,}", next_step="Pass a smaller file"
        )
    data = bytearray(size)
    if stream.readinto(data) != size or stream.read(1):
        raise _unreadable(path, "one that changed while it was read", "Load it again when it is finished")
    return data


def _unreadable(path: Path, got: str, step: str) -> CheckpointError:
    return CheckpointError(str(path), expected="a readable file", got=got, next_step=step)


def _limit() -> int:
    """Return half of the machine's memory in bytes, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 2**36


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a folder names, without links.

    Where the folder is a snapshot in a cache of the Hugging Face hub, links into that cache's blobs count as
    inside.

    Raises:
        CheckpointError: If the name is not a plain relative one, or leads out of the folder, by itself or by
            a link.
    """
    step = "Pass a folder whose files lie inside it"
    parts = name.split("/") if isinstance(name, str) else []
    if not parts or "\\" in name or "\0" in name or ":" in parts[0] or {"", ".", ".."} & set(parts):
        raise CheckpointError(
            f"file {name!r}"[:200],
            expected="a name inside the folder",
            got="another",
            where=f"In {folder}",
            next_step=step,
        )
    try:
        root, found = folder.resolve(), (folder / name).resolve()
    except (OSError, RuntimeError) as error:  # a link that leads to itself
        raise _unreadable(folder / name, str(error), step) from error
    roots = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(found.is_relative_to(allowed) for allowed in roots):
        raise CheckpointError(
            str(folder / name),
            expected="a file inside the folder",
            got=f"a link to {found}",
            next_step="Copy the file into the folder, if you trust it",
        )
    return found


def read_json(path: Path, *, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: The file.
        largest: Most bytes it may have.

    Raises:
        CheckpointError: If it cannot be read, is no JSON, names a key twice, holds NaN or infinity, is
            nested too deep, or is not an object.
    """
    value = parse_json(bytes(read_bytes(path, largest=largest)), path)
    if not isinstance(value, dict):
        raise CheckpointError(
            str(path), expected="a JSON object", got=type(value).__name__, next_step="Restore the file"
        )
    return value


def parse_json(data: bytes, path: Path) -> Any:
    """Return what JSON in UTF-8 says; `path` is for the message alone."""
    try:
        return json_of(data)
    except ValueError as error:
        got = f"text that is not ({error})"
        raise CheckpointError(str(path), expected="JSON", got=got, next_step=_ANEW) from error


def json_of(data: bytes) -> Any:
    """Return what JSON in UTF-8 says; ValueError if it is none, says a thing twice, or is too large."""
    try:
        value = json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    check_extent(value)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict; of a thing said twice, two readers may believe different halves."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
