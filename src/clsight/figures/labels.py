"""The words in figures: tokens shown literally, names of directions, numbers with their digits."""

from typing import Final

_ESCAPES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "$": "&#36;",
    "\n": "⏎",
    "\t": "⇥",
    "\r": "␍",
}
_TABLE: Final = str.maketrans({**{chr(code): "�" for code in range(32)}, **_ESCAPES})

TITLES: Final = {
    "attends_to": "What [CLS] attends to",
    "attended_by": "Who attends to [CLS]",
}
WEIGHTS: Final = {
    "attends_to": "weight of [CLS] on the token",
    "attended_by": "weight of the token on [CLS]",
}


def literal(text: str) -> str:
    """Return text that a figure shows as it is; plotly would read `<b>` as markup and `$x$` as a formula."""
    if text and not text.strip(" "):
        return "␣" * len(text)
    return text.translate(_TABLE)


def shortened(text: str, length: int) -> str:
    """Return at most `length` characters, the last an ellipsis when something was cut."""
    return text if len(text) <= length else text[: max(1, length - 1)] + "…"
