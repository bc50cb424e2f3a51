"""Subwords as words: which tokens of a text belong together, and the weights of whole words."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.analysis.weights import cls_position
from clsight.errors import RecordError
from clsight.records.checking import need

_PIECE = "##"


def merge_words(record: xr.Dataset) -> xr.Dataset:
    """Return a record of one text with a token for each word instead of each subword.

    The row of a word is the sum over its pieces, as CLS gives to all of them; its column is the mean, as each
    piece has a query of its own (Clark et al. 2019, arXiv 1906.04341). Pieces are told by "##", or by the
    blank that begins or ends a word; punctuation stays alone. What has no piece stays as it is.

    Args:
        record: A plain record of one sample.

    Returns:
        `attends_to` (sums to 1 as before), `attended_by` if there, `token_mask`, `logits` if there,
        `token_text` and `token_kind`, with fewer tokens; what else depends on tokens is left out.

    Raises:
        RecordError: If it has more than one sample, or says nothing of its tokens.

    Example:
        >>> joined_pieces(["token", "##ization", "works"])
        ['tokenization', 'works']
    """
    text, kind = (need(record, name, asked_by="merge_words") for name in ("token_text", "token_kind"))
    if record.sizes.get("sample") != 1:
        raise RecordError(
            "merge_words",
            expected="a record of one sample",
            got=f"sample={record.sizes.get('sample', 'none')}",
            next_step="Select one: record.isel(sample=[0])",
        )
    texts = [str(one) for one in text.isel(sample=0).values]
    starts = _starts(texts, kind.isel(sample=0).values == "word")
    first = record.isel(token=starts)
    whole = [name for name in ("logits",) if name in record]
    merged = first[["token_mask", *whole]].assign_coords(
        token=np.arange(len(starts)),
        token_text=(("sample", "token"), np.array([joined_at(texts, starts)], dtype=text.dtype)),
    )
    merged["attends_to"] = _reduced(record["attends_to"], starts, np.add.reduceat)
    if "attended_by" in record:
        sizes = xr.DataArray(np.diff([*starts, len(texts)]), dims="token")
        merged["attended_by"] = _reduced(record["attended_by"], starts, np.add.reduceat) / sizes
    place = (
        int(np.searchsorted(starts, int(cls_position(record, asked_by="merge_words").squeeze()), "right")) - 1
    )
    merged = merged.drop_vars("cls_position", errors="ignore")
    return merged.assign_attrs({**record.attrs, "cls_index": place})


def joined_pieces(texts: list[str]) -> list[str]:
    """Return the words that these pieces of words make up."""
    return joined_at(texts, _starts(texts, np.ones(len(texts), bool)))


def joined_at(texts: list[str], starts: NDArray[np.int64]) -> list[str]:
    """Return the texts of the words that begin at these positions."""
    ends = [*starts[1:], len(texts)]
    return [
        texts[start] + "".join(text.removeprefix(_PIECE) for text in texts[start + 1 : end])
        for start, end in zip(starts, ends, strict=True)
    ]


def _starts(texts: list[str], is_word: NDArray[Any]) -> NDArray[np.int64]:
    """Return the positions at which a word begins; every token that is no word is one by itself."""
    words = [text for text, counts in zip(texts, is_word, strict=True) if counts]
    front, back = (any(text[place : place + 1 or None] == " " for text in words) for place in (0, -1))
    continues = [False] * len(texts)
    for place in range(1, len(texts)):
        before, text = texts[place - 1], texts[place]
        if not (is_word[place] and is_word[place - 1]):
            continue
        if text.startswith(_PIECE) and len(text) > len(_PIECE):
            continues[place] = True
        elif _has_letters(before) and _has_letters(text):
            blank = before.endswith(" ") if back else text.startswith(" ")
            continues[place] = (front or back) and not blank
    return np.flatnonzero(~np.array(continues))


def _has_letters(text: str) -> bool:
    return any(letter.isalnum() for letter in text)


def _reduced(weights: xr.DataArray, starts: NDArray[np.int64], over: Any) -> xr.DataArray:
    """Return weights [..., token] added up from each start to the next."""
    reduced: xr.DataArray = xr.apply_ufunc(
        lambda array: over(array, starts, axis=-1),
        weights.drop_vars([name for name, labels in weights.coords.items() if "token" in labels.dims]),
        input_core_dims=[["token"]],
        output_core_dims=[["token"]],
        exclude_dims={"token"},
    )
    return reduced.transpose(*weights.dims)
