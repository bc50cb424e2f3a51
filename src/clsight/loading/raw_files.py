"""What stands in a file that a user names: numbers, or a text."""

import csv
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from clsight.errors import ClsightError

Array = np.ndarray[Any, Any]

_LARGEST_FILE: Final = 2**30
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_NO_TEXT: Final = {
    **dict.fromkeys(_PICTURES, "a picture"),
    **dict.fromkeys((".npy", ".npz"), "an array of numbers"),
    **dict.fromkeys((".csv", ".tsv"), "a table"),
}
_DATA: Final = frozenset({*_NO_TEXT, ".txt", ".json"})


def given_as(typed: str) -> str | Path:
    """Return what was typed: a path where there is such a file, else the text itself.

    Raises:
        ClsightError: If it ends like a file of data and there is none of that name: no text is meant.
    """
    file = existing_file(typed)
    if file is not None:
        return file
    if Path(typed).suffix.lower() in _DATA:
        step = "Correct the path; a text that only ends so goes into a .txt file"
        _refuse(typed, "a file that exists, or a text", "no file of that name", step)
    return typed


def existing_file(typed: str) -> Path | None:
    """Return the path that a text is, where there is such a file."""
    try:
        return Path(typed) if Path(typed).is_file() else None
    except (OSError, ValueError):  # longer than any name, or with a null byte: a text
        return None


def is_numbers(path: Path) -> bool:
    """Tell by its name whether a file holds numbers rather than a picture."""
    return path.suffix.lower() not in _PICTURES


def text_in(path: Path) -> str:
    """Return the whole of a text file, without the line break at its end.

    Raises:
        ClsightError: If there is no such file, it is empty, or holds no text.
    """
    kind = _NO_TEXT.get(path.suffix.lower())
    if kind is not None:
        _refuse(str(path), "a text, or a file of text such as .txt", kind, "Pass what this model reads: text")
    text = _decoded(path).rstrip("\r\n")
    if not text.strip() or "\0" in text:
        got = "an empty one" if not text.strip() else "bytes that are no text"
        _refuse(str(path), "a file of text", got, "Pass another file, or the text itself")
    return text


def lines_in(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank."""
    return [line for line in _decoded(path).splitlines() if line.strip()]


def numbers_in(path: Path) -> Array:
    """Return the numbers in a file.

    Args:
        path: A `.npy`; a `.csv`, a row per line; or another file of text such as `.txt`, whose numbers stand
            between blanks or commas. A first line without any number is names; `#` begins a remark.

    Raises:
        ClsightError: If it cannot be read, or holds anything but numbers.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            _refuse(str(path), f"at most {_LARGEST_FILE:,} bytes", "more", "Pass a part of it")
        if path.suffix.lower() == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            return array
        return _table(path)
    except (OSError, ValueError, EOFError, MemoryError, csv.Error) as error:
        got = " ".join(str(error).split())
        _refuse(str(path), "numbers as .npy, .csv or .txt", got, "Save it as one of the three")


def _table(path: Path) -> Array:
    """Return a file of text as [row, column]."""
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    else:
        plain = (line.partition("#")[0] for line in path.read_text(encoding="utf-8-sig").splitlines())
        rows = [cells for line in plain if (cells := line.replace(",", " ").split())]
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    return np.array([[float(cell) for cell in row] for row in rows], dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _decoded(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            _refuse(str(path), f"at most {_LARGEST_FILE:,} bytes", "more", "Pass a part of it")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        got = "bytes that are no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        _refuse(str(path), "a file of text", " ".join(got.split()), "Pass another file, or the text itself")


def _refuse(subject: str, expected: str, got: str, next_step: str) -> NoReturn:
    raise ClsightError(subject, expected=expected, got=got, next_step=next_step)
