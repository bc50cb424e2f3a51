"""Which tokens of a text belong to its first sentence and which to its second."""

import xarray as xr


def segments(record: xr.Dataset) -> list[list[int]]:
    """Return the positions of the real tokens of each part of a text, in order.

    A part ends with the special token behind its words: `[CLS] one [SEP] two [SEP]` has two parts. A text
    with one part, and what is no text, is one segment.

    Args:
        record: The record of one example.
    """
    one = record.isel(sample=0)
    parts: list[list[int]] = [[]]
    kinds = [str(kind) for kind in one["token_kind"].values]
    for position, (kind, real) in enumerate(zip(kinds, one["token_mask"].values, strict=True)):
        if not real:
            continue
        begins = kind == "word" and _has(parts[-1], kinds, "word") and kinds[parts[-1][-1]] == "special"
        if begins:
            parts.append([])
        parts[-1].append(position)
    return parts


def _has(part: list[int], kinds: list[str], kind: str) -> bool:
    return any(kinds[position] == kind for position in part)
