"""One step of a training as one small file, written whole or not at all: `step-000000100.npz`.

NumPy's own archive: every array has a checksum, and reading it runs no code. The text in it is JSON.
"""

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clsight.errors import RecordError
from clsight.schema import DIRECTIONS

_PATTERN: Final = "step-*.npz"
_ABOUT: Final = "about"
_UNFINISHED: Final = ".part-"
_READ_FAILURES: Final = (ValueError, KeyError, EOFError, MemoryError, OSError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Piece:
    """What is kept of one step.

    Attributes:
        arrays: Variable to array, the weights in half precision; empty where the step could not be captured.
        scalars: What the training told of the step, such as its loss; may be NaN or infinite.
        absent: Variable to the reason why it is not there, where the first record does not say so.
        notes: Sentences that the first record does not hold.
        failure: Why there are no arrays; empty if there are.
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: str = ""


def steps_in(folder: Path) -> list[int]:
    """Return the steps that a folder has pieces of, in order."""
    numbers = (path.stem.removeprefix("step-") for path in folder.glob(_PATTERN))
    return sorted(int(number) for number in numbers if number.isdecimal())


def piece_path(folder: Path, step: int) -> Path:
    """Return the file of a step."""
    return folder / f"step-{step:09d}.npz"


def write_piece(folder: Path, step: int, piece: Piece) -> None:
    """Write the file of a step under another name and rename it; raises OSError where the disk refuses."""
    about = {name: getattr(piece, name) for name in ("scalars", "absent", "notes", "failure")}
    stored = {name: _stored(name, array) for name, array in piece.arrays.items()}
    stored[_ABOUT] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    whole = io.BytesIO()
    np.savez(whole, allow_pickle=False, **stored)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=_UNFINISHED, delete=False) as file:
        try:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, piece_path(folder, step))
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def read_piece(path: Path) -> Piece:
    """Read the file of a step.

    Raises:
        FileNotFoundError: If it is gone.
        RecordError: If it is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: _as_measured(archive[name]) for name in archive.files if name != _ABOUT}
            about = json.loads(archive[_ABOUT].tobytes())
            return Piece(arrays, **{**about, "notes": tuple(about["notes"])})
    except FileNotFoundError:
        raise
    except (*_READ_FAILURES, TypeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def damaged(path: Path, got: str) -> RecordError:
    """Return the error for the file of a step that does not hold what was written."""
    step = "Remove or copy again that one file: each other step is whole"
    return RecordError(str(path), expected="one whole step of a training", got=got, next_step=step)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process left of a step that it was writing."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        path.unlink(missing_ok=True)


def _stored(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return weights in half precision: their rows still sum to 1 within what the schema allows."""
    return array.astype(np.float16) if name in DIRECTIONS else array


def _as_measured(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array
