"""Draws with replacement: of one dim as counts, of seeds and then inputs as the mean of each draw."""

from typing import Final

import numpy as np

BLOCK: Final = 2**23
"""Most positions held at once; fixed, so that a cell's draws do not depend on how many cells there are."""


def counts_of(positions: np.ndarray, size: int) -> np.ndarray:
    """Return how often each of `size` positions occurs along the last axis: [..., size], whole floats."""
    flat = positions.reshape(-1, positions.shape[-1])
    shifted = flat + size * np.arange(len(flat))[:, None]
    counts = np.bincount(shifted.ravel(), minlength=size * len(flat))
    return counts.reshape(*positions.shape[:-1], size).astype(np.float64)


def means_of_draws(grid: np.ndarray, resamples: int, *, shared: bool, seed: int) -> np.ndarray:
    """Return the mean of each draw of seeds, then of inputs, from a grid [seed, input]: [resample].

    Args:
        grid: Values; NaN counts as not there. No seed and no input is NaN throughout.
        resamples: How many draws.
        shared: One draw of inputs for all seeds of a resample; otherwise one for each seed drawn, out of its
            own inputs.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // grid.size)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    draw = _shared_inputs if shared else _own_inputs
    return np.concatenate([draw(grid, size, generator) for size in sizes])


def freedom_of(grid: np.ndarray, *, shared: bool) -> tuple[float, float]:
    """Return Student's degrees of freedom of the mean, and which share of its variance the draws show.

    Drawing n of n shows (n − 1)/n of the variance. Shared inputs add theirs to that of the seeds, and the
    freedom is Satterthwaite's (1946); with own inputs all that counts is how the seeds differ.

    Args:
        grid: As in `means_of_draws`, of two seeds or more.
        shared: As in `means_of_draws`.
    """
    sizes = np.array(grid.shape if shared and grid.shape[1] > 1 else grid.shape[:1])
    means = [np.nanmean(grid, axis=1 - axis) for axis in range(len(sizes))]
    variances = np.array([mean.var(ddof=1) for mean in means]) / sizes
    total = variances.sum()
    if not total > 0:  # seeds alike and inputs alike: only their combinations differ
        return float(sizes[0] - 1), float(1 - 1 / sizes[0])
    freedom = total**2 / (variances**2 / (sizes - 1)).sum()
    return float(freedom), float((variances * (1 - 1 / sizes)).sum() / total)


def _shared_inputs(grid: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    seeds, inputs = grid.shape
    seed_counts = counts_of(generator.integers(0, seeds, (resamples, seeds)), seeds)
    input_counts = counts_of(generator.integers(0, inputs, (resamples, inputs)), inputs)
    there = ~np.isnan(grid)
    total = (seed_counts @ np.where(there, grid, 0.0) * input_counts).sum(-1)
    count = (seed_counts @ there * input_counts).sum(-1)
    mean: np.ndarray = np.divide(total, count, out=np.full(resamples, np.nan), where=count > 0)
    return mean


def _own_inputs(grid: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    seeds, inputs = grid.shape
    drawn = generator.integers(0, seeds, (resamples, seeds))
    there = ~np.isnan(grid)
    first_those_there = np.argsort(~there, axis=-1, kind="stable")
    owned = there.sum(-1)[drawn][..., None]  # [resample, seed, 1]
    ranks = (generator.random((resamples, seeds, inputs)) * owned).astype(np.intp)
    values = grid[drawn[..., None], first_those_there[drawn[..., None], ranks]]
    counted = np.arange(inputs) < owned
    total: np.ndarray = np.where(counted, values, 0.0).sum((-2, -1)) / counted.sum((-2, -1))
    return total
