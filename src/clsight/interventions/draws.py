"""Passes that are compared share one draw of all that is random; what they show is averaged over draws."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.interventions.passes import Answer

NO_DRAW: Final = "the model draws nothing in eval mode, so one pass says all"
ONE_DRAW: Final = "one draw was asked for, and its spread is unknown"
_CLOSE: Final = 1e-5


def check_draws(draws: int, seed: int) -> None:
    """Refuse a number of draws that is none, and a seed that starts no random stream.

    Raises:
        CaptureError: With what was expected.
    """
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise CaptureError(
                name,
                expected=f"a whole number, {least} or more",
                got=repr(value),
                next_step="Pass draws=10, or more for a model whose answers vary much"
                if name == "draws"
                else "Pass the number from which the random streams start, such as 0",
            )


def seeds_of(draws: int, seed: int, *, has_drawn: bool) -> list[int]:
    """Return the start of the random streams of each draw: one alone if the model draws nothing."""
    return [seed + draw for draw in range(draws if has_drawn else 1)]


def check_same(name: str, one: Answer, other: Answer) -> None:
    """Refuse a model that answers differently in two passes of the same draw.

    Raises:
        CaptureError: If logits or the state of CLS differ.
    """
    pairs = [(one.logits, other.logits), (one.state, other.state)]
    if all(_are_close(first, second) for first, second in pairs):
        return
    raise CaptureError(
        name,
        expected="the same answer from two passes of the same inputs and the same draw",
        got="two different ones",
        where="It draws from a random stream that cannot be started anew, or keeps a state between passes",
        next_step="Draw from torch's own generator, or one that the module holds as an attribute",
    )


def spread_notes(seeds: Sequence[int]) -> list[str]:
    """Return a sentence on how often was drawn."""
    if len(seeds) == 1:
        return []
    return [f"Means over {len(seeds)} draws; passes that are compared share a draw"]


def _are_close(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    largest = float(one.abs().amax()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=_CLOSE, atol=_CLOSE * largest, equal_nan=True)
