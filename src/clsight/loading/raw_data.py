"""From what a user has at hand (strings, paths, arrays, lists of them) to `Examples`."""

import csv
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from clsight.errors import ClsightError
from clsight.loading.optional_libraries import needing
from clsight.preparation import Examples

Array = np.ndarray[Any, Any]

_TEXT = np.dtypes.StringDType()
_LARGEST_FILE = 2**30
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS would start another program
_MOST_PIXELS = 2**26


def read_text(raw: Any) -> Examples:
    """Return sentences as StringDType [sample], or sentence pairs as StringDType [sample, part=2].

    Args:
        raw: A string; a tuple of two strings, which is a pair; a list of strings or of pairs; an array of
            strings [sample] or [sample, 2].

    Raises:
        ClsightError: If it is none of these, or mixes sentences and pairs.
    """
    if isinstance(raw, str) or (isinstance(raw, tuple) and _is_pair(raw)):
        raw = [raw]
    several = raw.tolist() if isinstance(raw, np.ndarray) and raw.ndim in (1, 2) else raw
    if not isinstance(several, list | tuple) or not several:
        _refuse("sentences", "a string, a list of strings, or a list of pairs of them", _kind(raw))
    if all(isinstance(one, str) for one in several):
        return Examples(np.array(several, dtype=_TEXT))
    if not all(_is_pair(one) for one in several):
        kinds = " and ".join(sorted({"pairs" if _is_pair(one) else _kind(one) for one in several}))
        _refuse("sentences", "strings alone, or pairs of strings alone", kinds)
    return Examples(np.array([list(one) for one in several], dtype=_TEXT))


def read_series(raw: Any) -> Examples:
    """Return series as numbers [sample, time, feature].

    Args:
        raw: An array [time, feature] or [sample, time, feature]; the path of one as `.npy`; the path of a
            `.csv`, one row per time step and one column per feature, with or without a line of names; or a
            list of these, all of one length.

    Raises:
        ClsightError: If a file cannot be read as numbers, or the shapes differ.
    """
    several = [raw] if isinstance(raw, str | Path | np.ndarray) else raw
    if not isinstance(several, list | tuple) or not several:
        _refuse("series", "an array, a path, or a list of them", _kind(raw))
    arrays = [_numbers(one) for one in several]
    if len({array.shape for array in arrays}) != 1:
        shapes = ", ".join(sorted({str(list(array.shape)) for array in arrays}))
        _refuse("series", "one shape [time, feature]", shapes, "Pass series of one length, or one at a time")
    if arrays[0].ndim == 2:
        return Examples(np.stack(arrays))
    return Examples(np.concatenate(arrays))


def read_pictures(raw: Any) -> Examples:
    """Return pictures as uint8 [sample, height, width, color=3].

    Args:
        raw: A path, an array [height, width], [height, width, color] or [sample, height, width, color] of
            uint8, or a list of paths or arrays of one size.

    Raises:
        ClsightError: If a file is no picture, or the pictures differ in size.
    """
    if isinstance(raw, np.ndarray) and raw.ndim == 4:
        return Examples(_colored(raw))
    several = raw if isinstance(raw, list | tuple) else [raw]
    pictures = [_colored(_read(one)) for one in several]
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) != 1:
        raise ClsightError(
            "pictures",
            expected="one height and width in pixels",
            got=", ".join(f"{height}×{width}" for height, width in sizes) or "no picture",
            next_step="Pass pictures of one size, or one at a time",
        )
    return Examples(np.stack(pictures))


def _read(one: Any) -> Array:
    if isinstance(one, np.ndarray):
        return one
    with needing("pillow", extra="pictures"):
        from PIL import Image
    if isinstance(one, Image.Image):
        return np.asarray(one.convert("RGB"))
    try:
        with Image.open(Path(one), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"{image.width} × {image.height} pixels")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, TypeError, Image.DecompressionBombError) as error:
        got = " ".join(str(error).split())
        raise ClsightError(
            str(one), expected="a picture", got=got, next_step="Save it as PNG or JPEG"
        ) from error


def _colored(picture: Array) -> Array:
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or picture.shape[-1] == 3):
        raise ClsightError(
            "picture",
            expected="uint8 [height, width, color=3], values from 0 to 255",
            got=f"{picture.dtype} {list(picture.shape)}",
            next_step="Convert it, or pass the path of the file",
        )
    return np.stack((picture,) * 3, axis=-1) if picture.ndim == 2 else picture


def _is_pair(raw: Any) -> bool:
    """Tell whether this is one pair: of two strings in a tuple, or in a list inside another."""
    return isinstance(raw, list | tuple) and len(raw) == 2 and all(isinstance(part, str) for part in raw)


def _numbers(one: Any) -> Array:
    array = one if isinstance(one, np.ndarray) else _read_numbers(one)
    if array.dtype.kind not in "iuf" or array.ndim not in (2, 3):
        _refuse("series", "numbers [time, feature] or [sample, time, feature]", _kind(array))
    return array


def _read_numbers(one: Any) -> Array:
    """Return the numbers in a `.npy` or `.csv` file."""
    if not isinstance(one, str | Path):
        _refuse("series", "an array or a path", _kind(one))
    path = Path(one)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            _refuse(str(path), f"at most {_LARGEST_FILE:,} bytes", "more", "Pass a part of it")
        if path.suffix.lower() == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            return array
        return _table(path)
    except (OSError, ValueError, EOFError, csv.Error) as error:
        got = " ".join(str(error).split())
        _refuse(str(path), "numbers as .npy or .csv", got, "Save it as one of the two")


def _table(path: Path) -> Array:
    """Return a `.csv` as [time, feature]; a first line without any number in it is names."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    return np.array([[float(cell) for cell in row] for row in rows], dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} [{', '.join(str(size) for size in value.shape)}]"
    return "an empty list" if isinstance(value, list | tuple) and not value else f"a {type(value).__name__}"


def _refuse(subject: str, expected: str, got: str, next_step: str = "Change the input") -> NoReturn:
    raise ClsightError(subject, expected=expected, got=got, next_step=next_step)
