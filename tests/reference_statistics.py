"""Slow, obvious float64 versions of the statistics: loops over single numbers, no shared code."""

import math
from itertools import product
from statistics import NormalDist

import numpy as np
from scipy.special import stdtr, stdtrit


def mean(numbers):
    return math.fsum(numbers) / len(numbers)


def quantile(numbers, share):
    """Linear between order statistics, the first at 0 and the last at 1."""
    ordered = sorted(numbers)
    place = share * (len(ordered) - 1)
    below = min(math.floor(place), len(ordered) - 2)
    return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])


def resampled(values, draws, statistic):
    return [statistic([values[position] for position in draw]) for draw in draws]


def percentile_interval(values, draws, tail, statistic=mean):
    found = resampled(values, draws, statistic)
    return quantile(found, tail), quantile(found, 1 - tail)


def basic_interval(values, draws, tail, statistic=mean):
    low, high = percentile_interval(values, draws, tail, statistic)
    return 2 * statistic(values) - high, 2 * statistic(values) - low


def bca_interval(values, draws, tail, statistic=mean):
    """Efron's bias-corrected and accelerated interval (Efron and Tibshirani 1993, section 14.3)."""
    normal, found, whole = NormalDist(), resampled(values, draws, statistic), statistic(values)
    below = sum(1 if x < whole else 0.5 if x == whole else 0 for x in found) / len(found)
    bias = normal.inv_cdf(below)
    without = [statistic(values[:i] + values[i + 1 :]) for i in range(len(values))]
    center = mean(without)
    cubes = math.fsum((center - x) ** 3 for x in without)
    squares = math.fsum((center - x) ** 2 for x in without)
    skew = cubes / (6 * squares**1.5)

    def corrected(share):
        z = bias + normal.inv_cdf(share)
        return normal.cdf(bias + z / (1 - skew * z))

    return quantile(found, corrected(tail)), quantile(found, corrected(1 - tail))


def expanded_tail(size, confidence):
    """Hesterberg 2015, section 5.3: the normal quantile replaced by t, and n by n − 1."""
    t = float(stdtrit(size - 1, (1 + confidence) / 2))
    return NormalDist().cdf(-t * math.sqrt(size / (size - 1)))


def variance_of_mean(numbers):
    center = mean(numbers)
    return math.fsum((x - center) ** 2 for x in numbers) / (len(numbers) - 1) / len(numbers)


def expanded_tail_of_grid(grid, confidence):
    """The same for a full grid [seed][input]: the variances of both added, Satterthwaite's freedom."""
    seeds, inputs = len(grid), len(grid[0])
    by_seed = variance_of_mean([mean(row) for row in grid])
    by_input = variance_of_mean([mean([row[i] for row in grid]) for i in range(inputs)])
    freedom = (by_seed + by_input) ** 2 / (by_seed**2 / (seeds - 1) + by_input**2 / (inputs - 1))
    shown = by_seed * (seeds - 1) / seeds + by_input * (inputs - 1) / inputs
    t = float(stdtrit(freedom, (1 + confidence) / 2))
    return NormalDist().cdf(-t * math.sqrt((by_seed + by_input) / shown))


def mean_of_shared_draw(grid, seeds, inputs):
    kept = [grid[s][i] for s in seeds for i in inputs if not math.isnan(grid[s][i])]
    return mean(kept)


def mean_of_own_draw(grid, seeds, shares):
    """`shares` in [0, 1) [slot][input] pick among the inputs that a seed has, one for each that it has."""
    kept = []
    for slot, s in enumerate(seeds):
        owned = [x for x in grid[s] if not math.isnan(x)]
        kept += [owned[int(shares[slot][k] * len(owned))] for k in range(len(owned))]
    return mean(kept)


def sign_flip_p(differences, alternative="two-sided"):
    """Share of all sign flips at least as extreme. Whole numbers, so that a tie is a tie."""
    observed, count, every = sum(differences), 0, 0
    for signs in product((1, -1), repeat=len(differences)):
        flipped = sum(sign * d for sign, d in zip(signs, differences, strict=True))
        extreme = {
            "two-sided": abs(flipped) >= abs(observed),
            "greater": flipped >= observed,
            "less": flipped <= observed,
        }
        count, every = count + extreme[alternative], every + 1
    return count / every


def tost(differences, margin, level):
    """Return the textbook numbers of two one-sided paired t-tests: mean, low, high, p, p of no difference."""
    n = len(differences)
    center = mean(differences)
    error = math.sqrt(math.fsum((d - center) ** 2 for d in differences) / (n - 1)) / math.sqrt(n)
    above = 1 - stdtr(n - 1, (center + margin) / error)  # against: at or below −margin
    below = stdtr(n - 1, (center - margin) / error)  # against: at or above +margin
    half = stdtrit(n - 1, 1 - level) * error
    zero = 2 * (1 - stdtr(n - 1, abs(center) / error))
    return center, center - half, center + half, max(above, below), zero


def holm(p_values):
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted = [0.0] * m
    for rank, i in enumerate(order):
        adjusted[i] = min(1.0, max((m - j) * p_values[order[j]] for j in range(rank + 1)))
    return adjusted


def benjamini_hochberg(p_values):
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted = [0.0] * m
    for rank, i in enumerate(order):
        adjusted[i] = min(1.0, *(m / (j + 1) * p_values[order[j]] for j in range(rank, m)))
    return adjusted


def simulated_power(spread, pairs, margin, level, difference, *, studies, seed):
    """Return the share of simulated studies with normal differences whose interval lies within the margin."""
    draws = np.random.default_rng(seed).normal(difference, spread, size=(studies, pairs))
    half = stdtrit(pairs - 1, 1 - level) * draws.std(axis=1, ddof=1) / math.sqrt(pairs)
    center = draws.mean(axis=1)
    return ((center - half > -margin) & (center + half < margin)).mean()
