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


def mean_from_others(dense, mask):
    """Return the mean weight of the real tokens other than CLS on CLS."""
    result = np.full(dense.shape[:3], np.nan)
    for index, weights in each_head(dense):
        others = [i for i in real_positions(mask, index[0]) if i != 0]
        result[index] = sum(weights[i, 0] for i in others) / len(others)
    return result


def share_of_sinks(dense, mask, epsilon):
    means = mean_from_others(dense, mask)
    samples, layers, heads = means.shape
    result = np.zeros(samples)
    for s, layer, h in np.ndindex(samples, layers, heads):
        result[s] += (means[s, layer, h] > epsilon) / (layers * heads)
    return result


def share_of_sinks_of_each_token(dense, mask, epsilon):
    samples, layers, heads, tokens, _ = dense.shape
    result = np.full((samples, tokens), np.nan)
    for s in range(samples):
        real = real_positions(mask, s)
        for k in real:
            is_sink = [
                sum(dense[s, layer, h, i, k] for i in real) / len(real) > epsilon
                for layer in range(layers)
                for h in range(heads)
            ]
            result[s, k] = sum(is_sink) / len(is_sink)
    return result


def role(dense, mask):
    """Return −1 where CLS reads and nobody reads it, 1 the other way around."""
    result = np.zeros(dense.shape[:3])
    for index, weights in each_head(dense):
        real = real_positions(mask, index[0])
        n = len(real)
        reads = sum(weights[0, j] for j in real if j != 0) / ((n - 1) / n)
        is_read = sum(weights[i, 0] for i in real if i != 0) / (n - 1) / (1 / n)
        result[index] = (is_read - reads) / (is_read + reads)
    return result


def mean_by_place(dense, mask, place, *, column):
    """Return the mean weight of the real tokens at each place, [sample, layer, head, place]; −1 is none."""
    result = np.full((*dense.shape[:3], place.max() + 1), np.nan)
    for index, weights in each_head(dense):
        picked = weights_from(weights, real_positions(mask, index[0]), column=column)
        for at in range(place.max() + 1):
            there = [weight for i, weight in picked.items() if place[index[0], i] == at]
            if there:
                result[(*index, at)] = sum(there) / len(there)
    return result


def largest_over_heads(dense, mask):
    samples, layers, heads, tokens, _ = dense.shape
    result = np.full((samples, layers, tokens), np.nan)
    for s, layer in np.ndindex(samples, layers):
        largest = {j: max(dense[s, layer, h, 0, j] for h in range(heads)) for j in real_positions(mask, s)}
        for j, weight in largest.items():
            result[s, layer, j] = weight / sum(largest.values())
    return result
