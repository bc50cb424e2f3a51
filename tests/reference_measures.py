"""Slow, obvious float64 versions of the measures: loops over single numbers, no shared code.

Dense weights are [sample, layer, head, query, key], masks [sample, token] with True = real; CLS stands at 0.
"""

import numpy as np

from reference import each_head, real_positions


def weights_from(weights, real, *, column):
    """Return the CLS row over the real keys, or the CLS column over the real queries, by position."""
    return {i: weights[i, 0] if column else weights[0, i] for i in real}


def shares_from(weights, real, *, column):
    """Return the same; the column divided by its sum."""
    picked = weights_from(weights, real, column=column)
    total = sum(picked.values()) if column else 1.0
    return {i: weight / total for i, weight in picked.items()}


def largest_share(dense, mask, *, column):
    result = np.zeros(dense.shape[:3])
    for index, weights in each_head(dense):
        shares = shares_from(weights, real_positions(mask, index[0]), column=column)
        result[index] = max(shares.values())
    return result


def mass_of_tokens(dense, mask, chosen, *, column):
    """Return the share of the chosen tokens, [sample, token]; NaN where a sample has none."""
    result = np.full(dense.shape[:3], np.nan)
    for index, weights in each_head(dense):
        shares = shares_from(weights, real_positions(mask, index[0]), column=column)
        picked = [share for i, share in shares.items() if chosen[index[0], i]]
        if picked:
            result[index] = sum(picked)
    return result
