"""Where does CLS come from, through all layers, if each layer says how much each token adds to each other?

A row vector that starts at CLS is pushed down through the layers, one matrix of contributions at a time. Only
queries that CLS drew on count: in the top layer CLS alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from clsight.interventions.opening import Opened
from clsight.interventions.parts import LayerParts
from clsight.interventions.sublayer import Contributions, in_blocks

Scores = Callable[[LayerParts, Contributions, Tensor, int], Tensor]
"""From layer, contributions `[query, token, channel]`, queries and sample to `[query, token]`."""


def roll_down(opened: Opened, scores: Scores, *, by_shares: bool) -> tuple[Tensor, Tensor]:
    """Return the contributions to CLS through all layers, and within each.

    Args:
        opened: The forward pass; every key is a token that asks too.
        scores: How much each token adds to each query.
        by_shares: Divide each row by its sum before the matrices are multiplied.

    Returns:
        `[sample, token]`, the row of CLS in the product of all layers' matrices, divided by its sum;
        `[sample, layer, token]`, the scores of CLS in each of them as they are.
    """
    samples = range(len(opened.position.index))
    found = [_roll_one(opened, scores, sample, by_shares) for sample in samples]
    through, within = (torch.stack(rows) for rows in zip(*found, strict=True))
    return shares(through), within


def shares(rows: Tensor) -> Tensor:
    """Return rows `[…, token]` divided by their sums; NaN where a sum is 0."""
    return rows / rows.sum(-1, keepdim=True)


def _roll_one(opened: Opened, scores: Scores, sample: int, by_shares: bool) -> tuple[Tensor, Tensor]:
    """Return `[token]` and `[layer, token]` of one sample."""
    cls = int(opened.position.index[sample])
    last = opened.layers[-1]
    share = torch.zeros(last.call.keys, dtype=last.dtype, device=last.call.query.device)
    share[cls] = 1.0
    rows: list[Tensor] = []
    for parts in reversed(opened.layers):
        drawn_on = share != 0
        drawn_on[cls] = True
        below = torch.zeros_like(share)
        for block, contributions in in_blocks(parts, sample, drawn_on.nonzero()[:, 0]):
            matrix = scores(parts, contributions, block, sample)
            below += share[block] @ (shares(matrix) if by_shares else matrix)
            if bool((block == cls).any()):
                rows.insert(0, matrix[block == cls][0])
        share = below
    return share, torch.stack(rows)
