"""Slow, obvious float64 versions of what is asked of CLS in the residual stream, and weights times norms."""

import math

import numpy as np

from reference import real_positions


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def massive(hidden, threshold, ratio):
    result = np.zeros(hidden.shape)
    for s, depth in np.ndindex(hidden.shape[:2]):
        sizes = [abs(x) for x in hidden[s, depth]]
        for c, size in enumerate(sizes):
            result[s, depth, c] = size > threshold and size >= ratio * median(sizes)
    return result


def largest_over_median(hidden):
    result = np.zeros(hidden.shape[:2])
    for s, depth in np.ndindex(result.shape):
        sizes = [abs(x) for x in hidden[s, depth]]
        result[s, depth] = max(sizes) / median(sizes)
    return result


def norms(hidden):
    result = np.zeros(hidden.shape[:2])
    for s, depth in np.ndindex(result.shape):
        result[s, depth] = math.sqrt(sum(x * x for x in hidden[s, depth]))
    return result


def cosines(first, second):
    """Return [sample, depth, other depth] of two arrays [sample, depth, channel]."""
    result = np.zeros((len(first), first.shape[1], second.shape[1]))
    for s, one, other in np.ndindex(result.shape):
        product = sum(a * b for a, b in zip(first[s, one], second[s, other], strict=True))
        sizes = [math.sqrt(sum(x * x for x in v)) for v in (first[s, one], second[s, other])]
        result[s, one, other] = product / (sizes[0] * sizes[1])
    return result


def unbiased_hsic(x, y):
    """Return HSIC of two lists of vectors, linear kernels, by the formula of Song et al. 2012."""
    n = len(x)
    k, m = (
        [
            [sum(a * b for a, b in zip(v[i], v[j], strict=True)) if i != j else 0.0 for j in range(n)]
            for i in range(n)
        ]
        for v in (x, y)
    )
    trace = sum(k[i][j] * m[j][i] for i in range(n) for j in range(n))
    sums = sum(map(sum, k)) * sum(map(sum, m)) / ((n - 1) * (n - 2))
    crossed = sum(k[i][j] * m[j][q] for i in range(n) for j in range(n) for q in range(n))
    return (trace + sums - 2 / (n - 2) * crossed) / (n * (n - 3))


def cka_of_depths(first, second):
    """Return [depth, other depth] of two arrays [sample, depth, channel]."""
    result = np.zeros((first.shape[1], second.shape[1]))
    for one, other in np.ndindex(result.shape):
        x, y = first[:, one].tolist(), second[:, other].tolist()
        result[one, other] = unbiased_hsic(x, y) / math.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))
    return result


def weighted_norms(dense, value_norm, mask, *, normalized):
    """Return weight × norm of each real token, [sample, layer, head, token]."""
    result = np.full(value_norm.shape, np.nan)
    for s, layer, h in np.ndindex(dense.shape[:3]):
        norms = {j: dense[s, layer, h, 0, j] * value_norm[s, layer, h, j] for j in real_positions(mask, s)}
        for j, norm in norms.items():
            result[s, layer, h, j] = norm / sum(norms.values()) if normalized else norm
    return result


def shares_of_real(values, mask):
    """Return [sample, layer, token] over its sum over the real tokens."""
    result = np.full(values.shape, np.nan)
    for s, layer in np.ndindex(values.shape[:2]):
        real = real_positions(mask, s)
        for j in real:
            result[s, layer, j] = values[s, layer, j] / sum(values[s, layer, i] for i in real)
    return result


def gradient_times_weight(dense, gradient, mask):
    result = np.full(gradient.shape, np.nan)
    for s, layer, h in np.ndindex(dense.shape[:3]):
        for j in real_positions(mask, s):
            result[s, layer, h, j] = dense[s, layer, h, 0, j] * gradient[s, layer, h, j]
    return result
