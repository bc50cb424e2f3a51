"""Where the tokens of an input stand in the sequence that the encoder sees, and what the others are."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clsight.errors import ClsightError
from clsight.preparation import Array
from clsight.schema import TokenKind


@dataclass(frozen=True)
class Layout:
    """What stands where in a sequence.

    Attributes:
        sources: Index of the input's token at each position; negative where another stands.
        texts: Text of the other positions.
        kinds: Kind of the other positions.
        grid: Rows and columns of the patches, where they are not those of the input itself.
        note: A sentence for who reads the map; "" where there is nothing to say.
    """

    sources: tuple[int, ...]
    texts: dict[int, str]
    kinds: dict[int, TokenKind]
    grid: tuple[int, int] | None = None
    note: str = ""

    def spread(self, values: Array, filler: Any) -> Array:
        """Return values `[sample, time]` at their places in `[sample, token]`."""
        wide = np.full((len(values), len(self.sources)), filler, dtype=values.dtype)
        places = [position for position, source in enumerate(self.sources) if source >= 0]
        wide[:, places] = values[:, [self.sources[position] for position in places]]
        return wide

    def named(self, values: Array, names: dict[int, Any]) -> Array:
        """Return `[sample, token]` with these names at the other positions."""
        for position, name in names.items():
            values[:, position] = name
        return values


def with_cls_at(position: int | None, time: int, *, extra_keys: int = 0) -> Layout:
    """Return the layout of `time` tokens with [CLS] put in at a position; None: without [CLS].

    Args:
        position: Where [CLS] comes to stand; negative from the end.
        time: Tokens of the input.
        extra_keys: Keys that attention adds behind the tokens.

    Raises:
        ClsightError: If the sequence has no such position.
    """
    texts: dict[int, str] = {}
    kinds: dict[int, TokenKind] = {}
    sources = list(range(time))
    if position is not None:
        index = position if position >= 0 else time + 1 + position
        if not 0 <= index <= time:
            step = "Pass another cls_index (--cls-index), or a longer input"
            raise ClsightError(
                "cls_index", expected=f"a position from 0 to {time}", got=str(position), next_step=step
            )
        sources.insert(index, -1)
        texts[index], kinds[index] = "[CLS]", "cls"
    length = len(sources)
    for extra in range(length, length + extra_keys):
        texts[extra], kinds[extra] = "[extra key]", "special"
    return Layout((*sources, *[-1] * extra_keys), texts, kinds)
