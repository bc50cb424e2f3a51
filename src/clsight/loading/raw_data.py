"""From what a user has at hand (strings, paths, arrays, lists of them) to `Examples`."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from clsight.errors import ClsightError
from clsight.loading.optional_libraries import needing
from clsight.loading.raw_files import existing_file, is_numbers, lines_in, numbers_in, text_in
from clsight.preparation import Examples

Array = np.ndarray[Any, Any]

_TEXT = np.dtypes.StringDType()
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS would start another program
_MOST_PIXELS = 2**26


def read_text(raw: Any) -> Examples:
    """Return sentences as StringDType [sample], or sentence pairs as StringDType [sample, part=2].

    Args:
        raw: A string; the `Path` of a file whose whole text is one sample; a tuple of two strings, which is
            a pair; a list of these; an array of strings [sample] or [sample, 2].

    Raises:
        ClsightError: If it is none of these, or mixes sentences and pairs.
    """
    if isinstance(raw, str | Path) or (isinstance(raw, tuple) and _is_pair(raw)):
        raw = [raw]
    several = raw.tolist() if isinstance(raw, np.ndarray) and raw.ndim in (1, 2) else raw
    if not isinstance(several, list | tuple) or not several:
        _refuse("sentences", "a string, a list of strings, or a list of pairs of them", _kind(raw))
    several = [text_in(one) if isinstance(one, Path) else one for one in several]
    if all(isinstance(one, str) for one in several):
        return _texts(list(several))
    if not all(_is_pair(one) for one in several):
        kinds = " and ".join(sorted({"pairs" if _is_pair(one) else _kind(one) for one in several}))
        _refuse("sentences", "strings alone, or pairs of strings alone", kinds)
    return _texts([list(one) for one in several])


def read_series(raw: Any) -> Examples:
    """Return series as numbers [sample, time, feature].

    Args:
        raw: An array [time, feature] or [sample, time, feature]; the path of one as `.npy`; the path of a
            `.csv` or `.txt`, one row per time step and one column per feature, with or without a line of
            names; or a list of these, all of one length.

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


def read_ids(raw: Any) -> Examples:
    """Return token ids as whole numbers [sample, time].

    Args:
        raw: An array or list [time] or [sample, time]; the path of one as `.npy`; text such as `"5 9 2"`, or
            the path of a file of it, a line for each sample; or a list of these texts and paths.

    Raises:
        ClsightError: If they are no whole numbers, or not as many in each sample.
    """
    if isinstance(raw, np.ndarray):
        return Examples(raw[None] if raw.ndim == 1 else raw)
    is_several = isinstance(raw, list | tuple) and any(isinstance(one, str | Path) for one in raw)
    try:
        arrays = [np.atleast_2d(_ids(one)) for one in (raw if is_several else [raw])]
        return Examples(np.concatenate(arrays))
    except ValueError as error:
        expected = "token ids, whole numbers [sample, time], as many in each sample"
        _refuse("examples", expected, str(error), "Change the input to what the model takes")


def read_pictures(raw: Any) -> Examples:
    """Return pictures as uint8 [sample, height, width, color=3].

    Args:
        raw: A path of a picture, or of an array as `.npy`; an array [height, width], [height, width, 3],
            [sample, height, width] or [sample, height, width, 3] of uint8; or a list of these of one size.

    Raises:
        ClsightError: If a file is no picture, or the pictures differ in size.
    """
    several = raw if isinstance(raw, list | tuple) else [raw]
    pictures = [_colored(_read(one)) for one in several]
    sizes = sorted({picture.shape[1:3] for picture in pictures})
    if len(sizes) != 1:
        raise ClsightError(
            "pictures",
            expected="one height and width in pixels",
            got=", ".join(f"{height}×{width}" for height, width in sizes) or "no picture",
            next_step="Pass pictures of one size, or one at a time",
        )
    return Examples(np.concatenate(pictures))


def read_any(raw: Any) -> Examples:
    """Return raw data as examples by what they are: ids, series or pictures.

    Args:
        raw: An array with samples first, or [time, feature], or one picture of uint8; the path of one, of a
            table, or of a picture; token ids as text; or a list of these.
    """
    if isinstance(raw, list | tuple) and any(isinstance(one, str | Path | np.ndarray) for one in raw):
        return joined([read_any(one) for one in raw])
    file = existing_file(raw) if isinstance(raw, str) else raw if isinstance(raw, Path) else None
    if file is not None:
        return read_any(numbers_in(file)) if is_numbers(file) else read_pictures(file)
    if not isinstance(raw, np.ndarray):
        return read_ids(raw)
    if raw.dtype == np.uint8:
        return read_pictures(raw)
    is_one = raw.ndim == 1 or (raw.ndim == 2 and raw.dtype.kind == "f")
    return Examples(raw[None] if is_one else raw)


def joined(several: list[Examples]) -> Examples:
    """Return examples of one shape as one; their inputs alone."""
    arrays = [examples.inputs for examples in several]
    if len({array.shape[1:] for array in arrays}) != 1:
        shapes = ", ".join(sorted({str(list(array.shape[1:])) for array in arrays}))
        _refuse("examples", "samples of one shape", shapes or "none", "Pass one at a time")
    return Examples(np.concatenate(arrays))


def _read(one: Any) -> Array:
    """Return one picture or several, as they are: an array, of Pillow, or in a file."""
    if isinstance(one, np.ndarray):
        return one
    with needing("pillow", extra="pictures"):
        from PIL import Image
    if isinstance(one, Image.Image):
        return np.asarray(one.convert("RGB"))
    if not isinstance(one, str | Path):
        _refuse("picture", "an array or a path", _kind(one))
    if Path(one).suffix.lower() == ".npy":
        return numbers_in(Path(one))
    try:
        with Image.open(Path(one), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"{image.width} × {image.height} pixels")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        got = " ".join(str(error).split())
        raise ClsightError(
            str(one), expected="a picture", got=got, next_step="Save it as PNG or JPEG"
        ) from error


def _colored(picture: Array) -> Array:
    """Return [sample, height, width, color=3] of one picture or several, gray or colored."""
    has_colors = picture.ndim in (3, 4) and picture.shape[-1] == 3
    is_gray = picture.ndim == 2 or (
        picture.ndim == 3 and picture.shape[-1] > 4
    )  # 4 is red, green, blue, alpha
    if picture.dtype != np.uint8 or not (has_colors or is_gray):
        raise ClsightError(
            "picture",
            expected="uint8 [height, width, color=3], values from 0 to 255",
            got=f"{picture.dtype} {list(picture.shape)}",
            next_step="Convert it, or pass the path of the file",
        )
    colored = picture if has_colors else np.stack((picture,) * 3, axis=-1)
    return colored if colored.ndim == 4 else colored[None]


def _is_pair(raw: Any) -> bool:
    """Tell whether this is one pair: of two strings in a tuple, or in a list inside another."""
    return isinstance(raw, list | tuple) and len(raw) == 2 and all(isinstance(part, str) for part in raw)


def _numbers(one: Any) -> Array:
    if not isinstance(one, np.ndarray | str | Path):
        _refuse("series", "an array or a path", _kind(one))
    array = one if isinstance(one, np.ndarray) else numbers_in(Path(one))
    if array.dtype.kind not in "iuf" or array.ndim not in (2, 3):
        _refuse("series", "numbers [time, feature] or [sample, time, feature]", _kind(array))
    return array


def _ids(one: Any) -> Array:
    """Return whole numbers [time], or [sample, time] of a list, a file or several lines."""
    file = existing_file(one) if isinstance(one, str) else one if isinstance(one, Path) else None
    if file is not None and file.suffix.lower() == ".npy":
        return numbers_in(file)
    if isinstance(one, str | Path):
        lines = one.splitlines() if file is None and isinstance(one, str) else lines_in(Path(one))
        one = [[int(word) for word in line.replace(",", " ").split()] for line in lines]
    return np.asarray(one)


def _texts(values: list[Any]) -> Examples:
    """Return strings, or lists of them, as StringDType; refuse letters that no text holds."""
    for text in (part for one in values for part in ([one] if isinstance(one, str) else one)):
        try:
            text.encode()
        except UnicodeEncodeError as error:  # such as bytes that the terminal could not read as UTF-8
            got = f"{text[error.start : error.end]!r} in it"
            _refuse("sentences", "text that UTF-8 can hold", got, "Write it in UTF-8")
    return Examples(np.array(values, dtype=_TEXT))


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} [{', '.join(str(size) for size in value.shape)}]"
    return "an empty list" if isinstance(value, list | tuple) and not value else f"a {type(value).__name__}"


def _refuse(subject: str, expected: str, got: str, next_step: str = "Change the input") -> NoReturn:
    raise ClsightError(subject, expected=expected, got=got, next_step=next_step)
