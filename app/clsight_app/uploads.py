"""Files that users drop on the page: kept in memory, bounded in bytes, found again by what is in them."""

import base64
import binascii
import hashlib
import tempfile
from pathlib import Path
from typing import Final, NoReturn

from clsight.errors import AppError
from clsight.loading import Examples, Subject
from clsight_app.cache import ByteCache

MOST_BYTES: Final = 8_000_000
"""The largest file that is taken."""
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".npy", ".csv", ".txt")


class Uploads:
    """Keep the files used last.

    Args:
        max_bytes: Bound on all of them together.
    """

    def __init__(self, max_bytes: int = 16 * MOST_BYTES) -> None:
        self._kept = ByteCache[str, bytes](max_bytes, len)

    def add(self, name: str, data: bytes) -> str:
        """Keep a file and return its id: what is in it, and how its name ends.

        Raises:
            AppError: It is too large, or of no kind that a model reads.
        """
        suffix = Path(name).suffix.lower()
        if suffix not in SUFFIXES:
            step = "Save it as one of these"
            raise AppError(
                name[:80], expected=f"a file {', '.join(SUFFIXES)}", got=suffix or "none", next_step=step
            )
        if len(data) > MOST_BYTES:
            got, step = f"{len(data):,}", "Give a smaller one"
            raise AppError(name[:80], expected=f"at most {MOST_BYTES:,} bytes", got=got, next_step=step)
        given = hashlib.sha256(data).hexdigest()[:16] + suffix
        self._kept.get(given, lambda: data)
        return given

    def read(self, given: str, subject: Subject) -> Examples:
        """Return a kept file as the examples of a model.

        Raises:
            AppError: It is no longer kept.
            ClsightError: The model cannot read it.
        """
        data = self._kept.get(given, lambda: _forgotten(given))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"dropped file{Path(given).suffix}")
            file.write_bytes(data)
            return subject.read(file)


def decoded(contents: str) -> bytes:
    """Return the bytes of a file as the browser sends it: `data:<kind>;base64,<letters>`."""
    letters = contents.partition(",")[2]
    if len(letters) > 4 * (MOST_BYTES // 3 + 1):
        step = "Give a smaller one"
        raise AppError("file", expected=f"at most {MOST_BYTES:,} bytes", got="more", next_step=step)
    try:
        return base64.b64decode(letters, validate=True)
    except binascii.Error as error:
        raise AppError("file", expected="a file", got="broken data", next_step="Drop it again") from error


def _forgotten(given: str) -> NoReturn:
    raise AppError(
        given[:40],
        expected="a file that the server holds",
        got="none of that name",
        where="Dropped files are forgotten when the app ends",
        next_step="Drop the file again",
    )
