"""Which token of the input is each position of the encoder's sequence made of? Found by changing the input.

A module may put [CLS] in front or behind, add registers, pad, leave tokens out, or merge several into one.
Nothing but its code says so; but what changes when a token of the input changes can be seen.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from clsight.errors import ClsightError
from clsight.loading.first_attention import FORWARD_ERRORS, Look, look
from clsight.loading.plain_input import PlainInput
from clsight.loading.token_layout import Layout
from clsight.schema import TokenKind

FIXED: Final = -1
"""A position that no token of the input changes: [CLS], a register, padding."""
SEVERAL: Final = -2
"""One that more than one token of the input changes."""
EVERY: Final = -3
"""One that changes with whatever changes, or by itself."""

Tokens = Callable[[Tensor | None], Tensor]
"""From the tokens of the input to change, bool [time], or None, to `[token, number]` of the sequence."""


def token_origins(tokens: Tokens, time: int) -> list[int]:
    """Return for each position of a sequence the token of the input that it depends on, else one of above.

    Each token of the input has a number, and for each binary digit of the numbers there are two passes: one
    in which those with a 1 there are changed, and one in which the others are. A position that depends on a
    single token changes in one of each two, which spells the token's number.

    Args:
        tokens: Runs the module.
        time: Tokens of the input.

    Example:
        >>> series = torch.arange(4.0)[:, None]
        >>> def shifted(changed):
        ...     x = series if changed is None else torch.where(changed[:, None], series + 9, series)
        ...     return torch.cat([torch.ones(1, 1), x, x[:2].sum(0, keepdim=True)])
        >>> token_origins(shifted, 4)
        [-1, 0, 1, 2, 3, -2]
    """
    numbers = torch.arange(1, time + 1)
    before = tokens(None)
    with_one, with_zero = [], []
    for digit in range(time.bit_length()):
        has_one = (numbers >> digit) % 2 == 1
        with_one.append(_changed(before, tokens(has_one)))
        with_zero.append(_changed(before, tokens(~has_one)))
    ones, zeros = torch.stack(with_one, dim=1), torch.stack(with_zero, dim=1)  # [token, digit]
    values = (ones.long() << torch.arange(ones.shape[1])).sum(dim=1) - 1
    found = torch.where((ones ^ zeros).all(dim=1) & (values >= 0) & (values < time), values, SEVERAL)
    found[~(ones | zeros).any(dim=1)] = FIXED
    found[(ones & zeros).all(dim=1)] = EVERY
    return [int(origin) for origin in found]


def layout_of(
    origins: Sequence[int],
    time: int,
    cls_index: int,
    *,
    kind: TokenKind = "step",
    grids: Sequence[tuple[int, int]] = (),
    extra_keys: int = 0,
) -> Layout:
    """Return what stands where in a sequence; tokens are numbered where that is not known.

    Where positions depend on several tokens, as behind a convolution, they are the input's tokens in order if
    there are as many, and patches if they fill the grid of a convolution exactly.

    Args:
        origins: From `token_origins`.
        time: Tokens of the input.
        cls_index: Position of [CLS], if no ordinary token stands there; negative from the end.
        kind: Of the input's tokens.
        grids: Rows and columns that convolutions before the sequence gave.
        extra_keys: Keys that attention adds behind the tokens.

    Raises:
        ClsightError: If the sequence has no such position.
    """
    length = len(origins)
    if not -length <= cls_index < length:
        step = "Pass another cls_index (--cls-index), or a longer input"
        expected = f"a position from 0 to {length - 1}"
        raise ClsightError("cls_index", expected=expected, got=str(cls_index), next_step=step)
    index = cls_index % length
    found, grid = _in_order(origins, time, index, grids)
    texts: dict[int, str] = {}
    kinds: dict[int, TokenKind] = {}
    note = ""
    for position in (each for each in range(length) if found is None or found[each] == FIXED):
        texts[position], kinds[position] = f"[extra {position}]", "special"
        if found is None:
            texts[position], kinds[position] = f"token {position}", kind
    if index in texts and (found is not None or origins[index] in (FIXED, EVERY)):
        texts[index], kinds[index] = "[CLS]", "cls"
    if found is None:
        note = _NUMBERED.format(length=length)
    for extra in range(length, length + extra_keys):
        texts[extra], kinds[extra] = "[extra key]", "special"
    sources = [FIXED] * length if found is None else found
    return Layout((*sources, *[FIXED] * extra_keys), texts, kinds, grid=grid, note=note)


_NUMBERED: Final = (
    "The tokens are numbered: which of the {length} that the encoder sees is which part of the input is not "
    "known"
)


def tokens_of(
    module: nn.Module, taken: PlainInput, inputs: tuple[Tensor, ...], *, within: str | None = None
) -> Tokens:
    """Return what runs a module on one sample, with some tokens of its input changed at random.

    What it gives is empty where the module does not run on the changed input.
    """
    x, *beside = inputs
    other = _other(taken, x)

    def tokens(changed: Tensor | None) -> Tensor:
        made = x if changed is None else torch.where(_spread(taken, x, changed), other, x)
        try:
            seen = look(module, (made, *beside), whole=False, within=within)
        except FORWARD_ERRORS:
            return torch.empty(0, 0)
        return torch.empty(0, 0) if seen is None else seen.tokens

    return tokens


def hears_input(module: nn.Module, taken: PlainInput, inputs: tuple[Tensor, ...], seen: Look) -> bool:
    """Tell whether what the module returns is finite, and changes with its input.

    With a mask that it reads the other way it does not: all tokens are hidden then.

    Args:
        module: The module.
        taken: What it takes.
        inputs: Of one sample.
        seen: What `look` returned on these inputs.
    """
    x, *beside = inputs
    other = look(module, (_other(taken, x), *beside))
    assert other is not None
    changes = other.numbers.shape != seen.numbers.shape or not torch.equal(other.numbers, seen.numbers)
    return changes and bool(torch.isfinite(seen.numbers).all())


def _other(taken: PlainInput, x: Tensor) -> Tensor:
    """Return an input that differs from `x` in every number."""
    generator = torch.Generator().manual_seed(0)
    if taken.takes == "token_ids":
        steps = torch.randint(1, max(taken.vocabulary, 2), x.shape, generator=generator)
        return (x + steps.to(x)) % max(taken.vocabulary, 1)
    spread = x.double().std(correction=0).item() or 1.0
    return x + torch.randn(x.shape, generator=generator).to(x) * spread


def _spread(taken: PlainInput, x: Tensor, changed: Tensor) -> Tensor:
    """Return which numbers of one sample `x` belong to the changed tokens of the input."""
    changed = changed.to(x.device)
    if taken.takes == "token_ids":
        return changed
    if taken.takes == "series":
        return changed if taken.features_first else changed[:, None]
    rows, columns = taken.grid_of(x.shape[2], x.shape[3])
    row = (torch.arange(x.shape[2]) // taken.stride[0]).clamp(max=rows - 1)
    column = (torch.arange(x.shape[3]) // taken.stride[1]).clamp(max=columns - 1)
    return changed[(row[:, None] * columns + column).to(x.device)]


def _in_order(
    origins: Sequence[int], time: int, index: int, grids: Sequence[tuple[int, int]]
) -> tuple[list[int] | None, tuple[int, int] | None]:
    """Return the token of the input at each position, and the grid that gives them their names."""
    moving = [position for position, origin in enumerate(origins) if origin != FIXED]
    if not moving:  # weights that are all zero, say, tell nothing
        moving = list(range(len(origins)))
    elif all(origins[position] >= 0 for position in moving):
        return list(origins), None
    for places in (moving, [position for position in moving if position != index]):
        grid = next((grid for grid in reversed(grids) if grid[0] * grid[1] == len(places)), None)
        if grid is not None or (len(places) == time and not grids):
            order = {position: number for number, position in enumerate(places)}
            return [order.get(position, FIXED) for position in range(len(origins))], grid
    return None, None


def _changed(before: Tensor, after: Tensor) -> Tensor:
    """Return which positions differ, bool [token]; all, where the sequence has another length."""
    if before.shape != after.shape:
        return torch.ones(len(before), dtype=torch.bool)
    return (before != after).any(dim=1).cpu()
