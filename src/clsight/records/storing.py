"""Records as files: one `.zarr.zip` each, written whole or not at all, read without running code in it."""

import json
import os
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from clsight.errors import RecordError
from clsight.records.checking import check

SUFFIX: Final = ".zarr.zip"
_CHUNK_BYTES: Final = 64 * 1024 * 1024
_FIXED_TIME: Final = (1980, 1, 1, 0, 0, 0)
_READ_FAILURES: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
)


def save_record(record: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a record as one `.zarr.zip` file and return its path.

    The file appears whole or not at all: it is zipped from a finished temporary folder beside the target,
    then renamed over it. The same record gives the same bytes. A process killed while it writes leaves
    that folder, hidden and named `.<target>.<letters>`; it may be removed.

    Args:
        record: A record that passes `clsight.records.check`, plain or stacked.
        path: Where to write; ends in `.zarr.zip`, in a folder that exists. An older file there is replaced.

    Raises:
        RecordError: If the record breaks the schema, the path is unsuitable, or the disk refuses.
    """
    target = _as_path(path, asked_by="clsight.save_record")
    check_target(target)
    check(record, where=f"Saving {target}")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
            folder, zipped = Path(work, "record.zarr"), Path(work, "record.zip")
            _write_folder(record, folder)
            _zip_folder(folder, zipped)
            os.replace(zipped, target)
    except OSError as error:
        raise RecordError(
            str(target),
            expected="a place that can be written",
            got=str(error),
            next_step="Free disk space or choose another folder",
        ) from error
    return target


def open_record(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a `.zarr.zip` file into memory as a record; the file is closed again on return.

    Args:
        path: A file made by `save_record`.

    Returns:
        The record as it was saved: variables, coordinates, attributes, text as NumPy StringDType.

    Raises:
        RecordError: If the file is missing, damaged, not a record, or from a newer clsight.
    """
    source = _as_path(path, asked_by="clsight.open_record")
    if not source.is_file():
        raise RecordError(
            str(source),
            expected=f"a record file ending in {SUFFIX}",
            got="a folder" if source.is_dir() else "no file of that name",
            next_step="Make one: `clsight.save_record(record, path)` or `clsight capture MODEL --out FILE`",
        )
    if not zipfile.is_zipfile(source) and not source.name.endswith(SUFFIX):
        raise _foreign(source, "a file of another kind")
    try:
        record = _read(source, _check_archive(source))
    except _READ_FAILURES as error:
        raise _damaged(source, f"{type(error).__name__}: {error}") from error
    check(record, where=f"In {source}")
    return record


def check_target(target: Path) -> None:
    """Raise unless a record could be written to this path, as far as one can tell without writing."""
    if not target.name.endswith(SUFFIX) or target.name == SUFFIX:
        better = target.parent / ((target.name.split(".")[0] or "record") + SUFFIX)
        raise RecordError(
            str(target),
            expected=f"a file name ending in {SUFFIX}",
            got=repr(target.name),
            next_step=f"Use {str(better)!r}",
        )
    if not target.parent.is_dir():
        raise RecordError(
            str(target),
            expected="a folder that exists",
            got=f"no folder {str(target.parent)!r}",
            next_step=f"Create it: mkdir -p {target.parent}",
        )
    if target.is_dir():
        raise RecordError(
            str(target),
            expected="a file name that is free or a file",
            got="a folder of that name",
            next_step="Remove the folder or choose another name",
        )


def _as_path(path: object, *, asked_by: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise RecordError(
            asked_by,
            expected=f"the path of a file ending in {SUFFIX}",
            got=repr(path) if path is None else f"an object of type {type(path).__name__}",
            next_step="Pass a str or a pathlib.Path",
        )
    return Path(path)


def _write_folder(record: xr.Dataset, folder: Path) -> None:
    """Write an ordinary Zarr folder with every chunk present, so that a lost chunk can be noticed."""
    plain = _with_zarr_text(record.drop_encoding())
    encoding = {str(name): {"chunks": _chunks(plain[name])} for name in plain.variables if plain[name].ndim}
    plain.to_zarr(
        folder, mode="w", zarr_format=3, consolidated=False, encoding=encoding, write_empty_chunks=True
    )


def _with_zarr_text(record: xr.Dataset) -> xr.Dataset:
    """Return the record with fixed-width and object text as StringDType, which Zarr stores portably."""
    text = {
        name: variable.astype(StringDType())
        for name, variable in record.variables.items()
        if variable.dtype.kind in "UO"
    }
    return record.assign({name: text[name] for name in text}) if text else record


def _chunks(array: xr.DataArray) -> tuple[int, ...]:
    """Return a chunk shape of at most 64 MiB, cut along the first dimension only."""
    first, *rest = array.shape
    row_bytes = max(1, array.dtype.itemsize * int(np.prod(rest, dtype=np.int64)))
    return (min(max(first, 1), max(1, _CHUNK_BYTES // row_bytes)), *(max(size, 1) for size in rest))


def _zip_folder(folder: Path, zipped: Path) -> None:
    """Zip a folder, uncompressed (the chunks are compressed), in a fixed order and with a fixed time."""
    with open(zipped, "wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for member in sorted(path for path in folder.rglob("*") if path.is_file()):
                info = zipfile.ZipInfo(member.relative_to(folder).as_posix(), _FIXED_TIME)
                archive.writestr(info, member.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def _check_archive(source: Path) -> Counter[str]:
    """Raise unless the file is an undamaged zip of a record; return how many chunks it holds per array."""
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
        if "zarr.json" not in names:
            raise _foreign(source, f"a zip of other things ({', '.join(names[:3]) or 'empty'})")
        broken = archive.testzip()
        if broken is not None:
            raise _damaged(source, f"bytes of {broken!r} that do not match their checksum")
        attributes = json.loads(archive.read("zarr.json")).get("attributes", {})
    if "schema_version" not in attributes:
        raise _foreign(source, "a Zarr archive made by another program")
    return Counter(name.split("/")[0] for name in set(names) if name.split("/")[1:2] == ["c"])


def _read(source: Path, chunks: Counter[str]) -> xr.Dataset:
    """Load everything, after seeing that every chunk is there (Zarr reads a lost chunk as zeros)."""
    import zarr
    from zarr.storage import ZipStore

    with ZipStore(source, mode="r") as store:
        for name, array in zarr.open_group(store, mode="r").arrays():
            if chunks[name] != array.nchunks:
                raise _damaged(source, f"{chunks[name]} of {array.nchunks} chunks of {name!r}")
        opened: Any = xr.open_zarr(store, consolidated=False, chunks=None)
        record: xr.Dataset = opened.load()
    return record.drop_encoding()


def _foreign(source: Path, got: str) -> RecordError:
    return RecordError(
        str(source),
        expected="a record made by `clsight.save_record`",
        got=got,
        next_step="Give a record file, or make one: `clsight capture MODEL --out FILE`",
    )


def _damaged(source: Path, got: str) -> RecordError:
    return RecordError(
        str(source),
        expected="a complete record file",
        got=got,
        next_step="Copy the file again, or capture again",
    )
