"""Do two layers or models order the inputs alike in CLS? Unbiased linear CKA, with what chance gives."""

from math import factorial
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.analysis.weights import named
from clsight.errors import RecordError
from clsight.records.checking import need
from clsight.records.sameness import check_same_inputs

Array = NDArray[np.float64]

_FEWEST: Final = 4  # of fewer samples nothing is left after centering
_NOTHING_LEFT: Final = 1e-10  # of a Gram matrix after centering: far above rounding, far below any structure
_TIE: Final = 1e-12
_UNDEFINED: Final = (
    "CLS at that depth is the same in all samples, as at its start (zero variance, 0/0), or there are fewer "
    "than 4 samples"
)


def cka(
    record: xr.Dataset, *, to: xr.Dataset | None = None, permutations: int = 999, seed: int = 0
) -> xr.Dataset:
    """Return how alike the samples lie to each other in CLS at two depths, of the same or another model.

    Linear CKA with the unbiased estimate of HSIC (Kornblith et al. 2019, arXiv 1905.00414; Song et al. 2012):
    the cosine of the two U-centered Gram matrices. Unlike the biased one it is near 0, not near 1, where few
    samples meet many channels. It compares orders of inputs, so the widths may differ. Unit: all samples.

    Args:
        record: A plain record of 4 samples or more, captured with `keep="hidden"`.
        to: A plain record of the same inputs; by default the same record.
        permutations: How often samples of the second are shuffled for the null.
        seed: Of the shuffles.

    Returns:
        `cka` (at most 1, 0 = unrelated, may be negative), `null_mean` (near 0) and `p_value` (share of
        shuffles as large, (1 + k)/(1 + permutations)), dims depth, other_depth. NaN where CLS does not vary:
        `attrs["undefined"]`. `attrs["smallest_p"]` is the least that samples and permutations can give.

    Raises:
        RecordError: If a record lacks `hidden`, is not plain, or inputs differ, or for no permutations.
    """
    if permutations < 1:
        raise _refused("at least one of `permutations`", repr(permutations), "Use 999 or more")
    if to is not None:
        check_same_inputs({"record": record, "to": to}, asked_by="cka")
    first = _centered_grams(record)
    second = first if to is None else _centered_grams(to)
    samples = record.sizes["sample"]
    found, null_mean, p_value = _against_chance(first, second, samples, permutations, seed)
    dims = ("depth", "other_depth")
    labels = {
        "cka": "unbiased linear CKA of CLS",
        "null_mean": "mean CKA of shuffled samples",
        "p_value": "p, one-sided, by permutation of samples",
    }
    arrays = {
        name: named(xr.DataArray(values, dims=dims), name, long_name=labels[name], undefined=_UNDEFINED)
        for name, values in (("cka", found), ("null_mean", null_mean), ("p_value", p_value))
    }
    smallest = max(1 / (1 + permutations), 1 / factorial(min(samples, 20)))
    return xr.Dataset(
        arrays,
        attrs={"samples": samples, "permutations": permutations, "seed": seed, "smallest_p": smallest},
    )


def _against_chance(
    first: Array, second: Array, samples: int, permutations: int, seed: int
) -> tuple[Array, Array, Array]:
    """Return the CKA of each pair of depths, its mean over shuffles, and the share of shuffles as large."""
    found = _products(first, second)
    total, as_large = np.zeros_like(found), np.zeros_like(found)
    generator = np.random.default_rng(seed)
    for _ in range(permutations):
        order = generator.permutation(samples)
        shuffled = _products(first, second[:, order][:, :, order])
        total += shuffled
        as_large += shuffled >= found - _TIE
    p_value = np.where(np.isnan(found), np.nan, (1 + as_large) / (1 + permutations))
    return found, total / permutations, p_value


def _products(first: Array, second: Array) -> Array:
    """Return the inner product of every two matrices, [depth, other depth]."""
    result: Array = first.reshape(len(first), -1) @ second.reshape(len(second), -1).T
    return result


def _centered_grams(record: xr.Dataset) -> Array:
    """Return the U-centered Gram matrix of each depth at norm 1, [depth, sample, sample]; NaN where 0/0."""
    hidden = need(record, "hidden", asked_by="cka")
    if hidden.dims != ("sample", "depth", "channel"):
        raise _refused(
            "a plain record with `hidden` of dims (sample, depth, channel)",
            f"dims ({', '.join(map(str, hidden.dims))})",
            "Select one member of a stack, and lists of samples and depths: record.isel(depth=[0])",
        )
    rounding = 4 * float(np.finfo(hidden.dtype).eps)
    return np.stack([_centered_gram(states, rounding) for states in hidden.transpose("depth", ...).values])


def _centered_gram(states: NDArray[np.floating], rounding: float) -> Array:
    """Return the U-centered Gram matrix of one depth, [sample, sample], over its norm.

    Args:
        states: [sample, channel].
        rounding: Differences between samples up to this share of the largest value are none.
    """
    samples = len(states)
    nothing = np.full((samples, samples), np.nan)
    exact = states.astype(np.float64)
    varying = exact - exact[:1]  # exactly 0 where all samples are equal
    if samples < _FEWEST or np.abs(varying).max() <= rounding * np.abs(exact).max():
        return nothing
    gram = varying @ varying.T
    size = np.linalg.norm(gram)
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=0)
    gram += sums.sum() / ((samples - 1) * (samples - 2)) - (sums[:, None] + sums[None]) / (samples - 2)
    np.fill_diagonal(gram, 0.0)
    norm = np.linalg.norm(gram)
    return gram / norm if norm > _NOTHING_LEFT * size else nothing


def _refused(expected: str, got: str, next_step: str) -> RecordError:
    return RecordError("cka", expected=expected, got=got, next_step=next_step)
