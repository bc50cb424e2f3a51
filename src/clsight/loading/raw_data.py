"""From what a user has at hand (paths, arrays, lists of them) to `Examples`."""

from pathlib import Path
from typing import Any

import numpy as np

from clsight.errors import ClsightError
from clsight.loading.optional_libraries import needing
from clsight.preparation import Examples

Array = np.ndarray[Any, Any]


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
        with Image.open(Path(one)) as image:
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
