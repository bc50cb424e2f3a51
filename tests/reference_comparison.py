"""Slow, obvious float64 comparisons of heads and models: loops over single numbers, no shared code."""

import itertools
import math

import numpy as np

from reference import real_positions
from reference_measures import shares_from


def divergence_in_bits(p, q):
    """Return the Jensen–Shannon divergence of two lists of shares, logarithm to base 2."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += a * math.log2(a / middle) / 2 if a > 0 else 0.0
        total += b * math.log2(b / middle) / 2 if b > 0 else 0.0
    return max(total, 0.0)


def mean_ranks(values):
    """Return the rank of each value, equal values at the mean of theirs."""
    ranks = []
    for value in values:
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        ranks.append(below + (equal + 1) / 2)
    return ranks


def spearman(x, y):
    a, b = mean_ranks(x), mean_ranks(y)
    a, b = [v - sum(a) / len(a) for v in a], [v - sum(b) / len(b) for v in b]
    product = sum(u * v for u, v in zip(a, b, strict=True))
    spread = math.sqrt(sum(u * u for u in a) * sum(v * v for v in b))
    return product / spread if spread else math.nan


def shares_of_head(dense, mask, index, *, column):
    shares = shares_from(dense[index], real_positions(mask, index[0]), column=column)
    return list(shares.values())


def distance_of_each_head(first, second, mask, *, kind, column):
    result = np.zeros(first.shape[:3])
    for index in np.ndindex(result.shape):
        p = shares_of_head(first, mask, index, column=column)
        q = shares_of_head(second, mask, index, column=column)
        result[index] = 1 - spearman(p, q) if kind == "spearman" else math.sqrt(divergence_in_bits(p, q))
    return result


def agreement_of_heads(dense, mask, *, column):
    """Return 1 − divergence, [sample, layer, head, other layer, other head]."""
    samples, layers, heads = dense.shape[:3]
    result = np.zeros((samples, layers, heads, layers, heads))
    for s, layer, h, other_layer, other in np.ndindex(result.shape):
        p = shares_of_head(dense, mask, (s, layer, h), column=column)
        q = shares_of_head(dense, mask, (s, other_layer, other), column=column)
        result[s, layer, h, other_layer, other] = 1 - divergence_in_bits(p, q)
    return result


def best_assignment(cost):
    """Return the cheapest of all permutations of the columns of a square matrix."""
    orders = itertools.permutations(range(len(cost)))
    return min(orders, key=lambda order: sum(cost[i][j] for i, j in enumerate(order)))


def clusters_by_average_distance(distances, count):
    """Merge the two groups with the smallest mean distance until `count` are left; numbers by appearance."""
    groups = [[i] for i in range(len(distances))]
    while len(groups) > count:
        pairs = itertools.combinations(range(len(groups)), 2)
        one, other = min(
            pairs,
            key=lambda pair: np.mean([distances[i][j] for i in groups[pair[0]] for j in groups[pair[1]]]),
        )
        groups[one] += groups.pop(other)
    groups.sort(key=min)
    return [next(number for number, group in enumerate(groups) if i in group) for i in range(len(distances))]
