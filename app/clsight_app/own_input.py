"""An input of the user's own, read for a model: typed text or ids, bounded; pictures as it sees them."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clsight.errors import AppError
from clsight.loading import Examples, Subject
from clsight_app.state import Asked

MOST_TOKENS: Final = 8_192
TYPED: Final = ("text", "token_ids")
"""What a model takes that can be typed."""


def typed_input(subject: Subject, asked: Asked) -> Examples:
    """Return typed text as the one example of a model.

    Args:
        subject: The model.
        asked: What was typed; two sentences are a pair.

    Raises:
        AppError: The model takes no text, or it has more tokens than can be shown.
        ClsightError: The model cannot read it.
    """
    if subject.takes not in TYPED:
        raise AppError(
            subject.name,
            expected="a model that takes text",
            got=f"one that takes {_WORDS[subject.takes]}",
            next_step="Choose one of its examples, or another model",
        )
    if subject.takes == "token_ids":
        return checked_size(subject, subject.read(_ids(asked.text)))
    read = subject.read((asked.text, asked.second) if asked.second else asked.text)
    return checked_size(subject, read)


def _ids(text: str) -> NDArray[np.int64]:
    """Return typed whole numbers as [sample=1, token]; text that names a file opens none."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() and len(word) <= 9 for word in words):
        raise AppError(
            "text",
            expected="token ids, such as 5 9 2",
            got=repr(text[:40]),
            next_step="Type whole numbers with blanks between them",
        )
    return np.array([[int(word) for word in words]])


def checked_size(subject: Subject, read: Examples) -> Examples:
    """Return what was read, if it is one sample of a length that can be shown.

    Raises:
        AppError: It is several samples, or has more than `MOST_TOKENS` tokens.
    """
    if len(read) != 1:
        raise AppError("input", expected="one sample", got=str(len(read)), next_step="Give one at a time")
    tokens = subject.prepare(read).token_text.shape[1]
    if tokens > MOST_TOKENS:
        raise AppError(
            "input",
            expected=f"at most {MOST_TOKENS:,} tokens",
            got=f"{tokens:,}",
            next_step="Give a part of it",
        )
    return read


_WORDS: Final = {"text": "text", "image": "pictures", "series": "series", "token_ids": "token ids"}


def picture_seen(subject: Subject, examples: Examples) -> NDArray[Any]:
    """Return the picture of one example as it enters the model, after it was scaled and cut.

    Returns:
        The picture itself where its size is the model's; else [row, column, color] in [0, 1], its colors
        stretched, as the model's own are no colors any more.
    """
    raw: NDArray[Any] = examples.inputs[0]
    given = subject.prepare(examples).inputs
    parts = (
        list(given.values())
        if isinstance(given, Mapping)
        else list(given)
        if isinstance(given, tuple)
        else [given]
    )
    pixels = next((part for part in parts if getattr(part, "ndim", 0) == 4), None)
    if pixels is None or tuple(pixels.shape[-2:]) == raw.shape[:2]:
        return raw
    seen = np.moveaxis(pixels[0].float().cpu().numpy(), 0, -1)
    low, high = float(seen.min()), float(seen.max())
    stretched: NDArray[Any] = (seen - low) / max(high - low, 1e-12)
    return stretched
