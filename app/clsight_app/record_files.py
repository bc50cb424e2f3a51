"""Record files under the folders that the app was started with: listed, opened if they are not too large."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import xarray as xr
from zarr import open_group
from zarr.storage import ZipStore

import clsight
from clsight.errors import AppError, RecordError

SUFFIX: Final = ".zarr.zip"
MOST_SAMPLES: Final = 10_000
MOST_BYTES: Final = 1 << 30
_MOST_LISTED: Final = 200


class RecordFiles:
    """Finds record files below some folders, and nothing that lies outside of them.

    Args:
        roots: The folders; a name is a path from one of them, with `/` between its parts.
    """

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self._roots = tuple(root.resolve() for root in roots)

    def names(self) -> tuple[str, ...]:
        """Return the names of the record files, in order; at most 200."""
        found = (
            path.relative_to(root).as_posix()
            for root in self._roots
            for path in sorted(root.rglob(f"*{SUFFIX}"))
            if path.is_file() and _is_below(path, root)
        )
        return tuple(dict.fromkeys(found))[:_MOST_LISTED]

    def path(self, name: str) -> Path:
        """Return the file of a name.

        Raises:
            AppError: There is none of that name below the folders.
        """
        for root in self._roots:
            path = root / name
            if name.endswith(SUFFIX) and _is_below(path, root) and path.is_file():
                return path
        step = "Choose one from the list" if self._roots else "Start the app with --root FOLDER"
        raise AppError("record", expected="a record file below a root", got=repr(name[:80]), next_step=step)

    def opened(self, name: str) -> xr.Dataset:
        """Return a record in memory, after a look at its size.

        Raises:
            AppError: There is no such file, it is too large, or it holds several models or steps.
            RecordError: It is no record, or damaged.
        """
        path = self.path(name)
        samples, size = size_of(path)
        for what, got, most in (("samples", samples, MOST_SAMPLES), ("bytes", size, MOST_BYTES)):
            if got > most:
                raise AppError(
                    name,
                    expected=f"at most {most:,} {what}",
                    got=f"{got:,}",
                    next_step="Save a part of it: clsight.save_record(record.isel(sample=slice(1000)), path)",
                )
        record = clsight.open_record(path)
        several = [str(dim) for dim in ("strategy", "seed", "step") if dim in record.dims]
        if several:
            raise AppError(
                name,
                expected="a record of one model",
                got=f"one with several along {', '.join(several)}",
                next_step=f"Save one of them: record.isel({several[0]}=0)",
            )
        return record


def size_of(path: Path) -> tuple[int, int]:
    """Return how many samples a record file holds and how many bytes it takes in memory, without reading it.

    Raises:
        RecordError: It cannot be read.
    """
    if not zipfile.is_zipfile(path):
        raise _no_record(path, "a file of another kind")
    try:
        with ZipStore(path, mode="r") as store:
            arrays = dict(open_group(store, mode="r").arrays())
            return int(arrays["token_mask"].shape[0]), sum(int(array.nbytes) for array in arrays.values())
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise _no_record(path, f"{type(error).__name__}: {error}"[:200]) from error


def _no_record(path: Path, got: str) -> RecordError:
    return RecordError(path.name, expected="a record file", got=got, next_step="Choose another")


def _is_below(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root)
