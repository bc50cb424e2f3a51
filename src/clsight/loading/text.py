"""From sentences to token ids: what a `tokenizer.json` says, run by the tokenizers library alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from clsight.errors import ClsightError
from clsight.preparation import Array, Examples

_TEXT: Final = np.dtypes.StringDType()
_LARGEST_TEXT: Final = 1_000_000


@dataclass(frozen=True, eq=False)
class TextTokens:
    """Sentences as a tokenizer cuts them, padded at the end: all [sample, token].

    Attributes:
        ids: int64.
        types: int64, 0 in the first sentence, as the tokenizer counts in the second.
        mask: bool, True = a real token.
        special: bool, True = put in by the tokenizer.
        text: StringDType; words of byte-level tokenizers begin with their space, so that they join.
    """

    ids: Array
    types: Array
    mask: Array
    special: Array
    text: Array


class SentenceTokenizer:
    """Cuts sentences, or pairs of them, into tokens.

    Args:
        tokenizer: A `tokenizers.Tokenizer`, which is changed: it pads no more, and cuts at `longest`.
        longest: Most tokens of a sample, special ones counted; what is longer is cut at its end.
        pad_id: Fills up shorter samples.
        lowercase: Whether sentences are lowercased first.
    """

    def __init__(self, tokenizer: Any, *, longest: int | None, pad_id: int, lowercase: bool = False) -> None:
        tokenizer.no_padding()
        if longest is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(longest)
        self._tokenizer, self._pad_id, self._lowercase = tokenizer, pad_id, lowercase
        self._pad_text = tokenizer.id_to_token(pad_id) or "[PAD]"
        self._shown = lru_cache(maxsize=2**16)(shown_by(tokenizer))
        self.longest = longest

    def __call__(self, examples: Examples) -> TextTokens:
        """Return the tokens of sentences [sample], or of pairs [sample, 2].

        Raises:
            ClsightError: If the examples are no text, or a sentence cannot be cut.
        """
        cut = [self._encode(parts) for parts in _sentences(examples)]
        width = max(len(one.ids) for one in cut)
        return TextTokens(
            ids=_padded([one.ids for one in cut], width, self._pad_id, np.int64),
            types=_padded([one.type_ids for one in cut], width, 0, np.int64),
            mask=_padded([[True] * len(one.ids) for one in cut], width, False, bool),
            special=_padded([one.special_tokens_mask for one in cut], width, 1, bool),
            text=_padded([self._texts(one) for one in cut], width, self._pad_text, _TEXT),
        )

    def _encode(self, parts: list[str]) -> Any:
        if self._lowercase:
            parts = [part.lower() for part in parts]
        try:
            # One at a time: a batch starts threads, which warn when the process forks later.
            found = self._tokenizer.encode(*parts)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            got = " ".join(str(error).split())[:200]
            raise ClsightError(
                "sentence", expected="text that the tokenizer cuts", got=got, next_step="Change it"
            ) from error
        if not found.ids:
            raise ClsightError(
                "sentence", expected="one token or more", got="none", next_step="Pass a longer sentence"
            )
        return found

    def _texts(self, cut: Any) -> list[str]:
        return [self._shown(token) for token in cut.tokens]


def shown_by(tokenizer: Any) -> Callable[[str], str]:
    """Return the function from a token as the tokenizer writes it to one that people can read."""
    decoder = b"" if tokenizer.decoder is None else tokenizer.decoder.__getstate__()
    end = getattr(tokenizer.model, "end_of_word_suffix", None)
    if end:
        plain = _decoded_by(decoder)
        return lambda token: plain(token.removesuffix(end)) + " " * token.endswith(end)
    return _decoded_by(decoder)


def _decoded_by(decoder: bytes) -> Callable[[str], str]:
    state = decoder.decode()
    if '"ByteLevel"' in state:
        letters = byte_letters()
        return lambda token: _from_bytes(token, letters)
    if "▁" in state:
        return lambda token: token.replace("▁", " ")
    return lambda token: token


def byte_letters() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for.

    Printable bytes of Latin-1 stand for themselves, the others for the letters from number 256 on.

    Example:
        >>> byte_letters()["Ġ"], byte_letters()["a"]
        (32, 97)
    """
    itself = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in itself]
    return {chr(byte): byte for byte in itself} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }


def _from_bytes(token: str, letters: dict[str, int]) -> str:
    """Return the text of a byte-level token; of part of a letter, which has no text, its bytes."""
    if not all(letter in letters for letter in token):
        return token
    data = bytes(letters[letter] for letter in token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="backslashreplace")


def _sentences(examples: Examples) -> list[list[str]]:
    inputs = examples.inputs
    if inputs.dtype != _TEXT or inputs.ndim > 2 or (inputs.ndim == 2 and inputs.shape[1] != 2):
        raise ClsightError(
            "examples",
            expected="sentences [sample] or pairs of sentences [sample, 2]",
            got=f"{inputs.dtype} {list(inputs.shape)}",
            next_step="Pass a string, or a list of strings",
        )
    if max(len(one) for one in inputs.ravel().tolist()) > _LARGEST_TEXT:
        raise ClsightError(
            "examples",
            expected=f"at most {_LARGEST_TEXT:,} letters in a sentence",
            got="more",
            next_step="Pass a part of it",
        )
    return [[one] if isinstance(one, str) else list(one) for one in inputs.tolist()]


def _padded(rows: list[Any], width: int, filler: Any, dtype: Any) -> Array:
    made = np.full((len(rows), width), filler, dtype=dtype)
    for row, values in zip(made, rows, strict=True):
        row[: len(values)] = values
    return made
