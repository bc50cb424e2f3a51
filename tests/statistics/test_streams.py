import math
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from clsight import StatisticsError
from clsight.statistics import RunningMean

# Both sum the same numbers in another order: a few hundred roundings of 1e-16, relative to the largest value
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def stream(samples=50, *, seed=0, offset=0.0):
    """Values with holes: one cell is never there, one only once."""
    values = offset + np.random.default_rng(seed).normal(size=(samples, 3, 2))
    values[np.random.default_rng(seed + 1).random(values.shape) < 0.2] = np.nan
    values[:, 0, 1] = np.nan
    values[1:, 2, 0] = np.nan
    values[0, 2, 0] = 4.0 + offset
    return xr.DataArray(
        values,
        dims=("sample", "layer", "head"),
        coords={"layer": [4, 5, 6], "sample": np.arange(samples), "label": ("sample", np.arange(samples))},
        name="entropy",
        attrs={"units": "nats"},
    )


def one_shot(values):
    """Return count, mean and sample variance of each cell by the textbook formula, with exact sums."""
    count, mean, variance = (np.full(values.shape[1:], np.nan) for _ in range(3))
    for cell in np.ndindex(values.shape[1:]):
        kept = [x for x in values[(slice(None), *cell)].tolist() if not math.isnan(x)]
        count[cell] = len(kept)
        if kept:
            mean[cell] = math.fsum(kept) / len(kept)
        if len(kept) > 1:
            variance[cell] = math.fsum((x - mean[cell]) ** 2 for x in kept) / (len(kept) - 1)
    return {"count": count, "mean": mean, "variance": variance}


def batches_of(values, cuts):
    edges = [0, *sorted(cuts), values.sizes["sample"]]
    return [values.isel(sample=slice(*edge)) for edge in pairwise(edges)]


def assert_is(result, expected):
    for name, column in expected.items():
        np.testing.assert_allclose(result[name], column, **EXACT)


VALUES = stream()
EXPECTED = one_shot(VALUES.values)


@given(st.lists(st.integers(0, 50), max_size=6))
def test_running_mean_of_any_batches_is_that_of_all_at_once(cuts):
    running = RunningMean()
    for batch in batches_of(VALUES, cuts):
        running.update(batch)
    assert_is(running.compute(), EXPECTED)


def test_running_mean_keeps_its_digits_far_from_zero():
    values, running = stream(offset=1e6), RunningMean()
    for batch in batches_of(values, [7, 20, 21]):
        running.update(batch)
    expected = one_shot(values.values)
    np.testing.assert_allclose(running.compute()["mean"], expected["mean"], rtol=1e-12)
    # the values themselves hold 1e-10 of what is beside a million; a sum of squares would lose all digits
    np.testing.assert_allclose(running.compute()["variance"], expected["variance"], rtol=1e-8)


def test_running_mean_merges_in_any_order():
    values = stream()
    parts = []
    for batch in batches_of(values, [13, 30]):
        part = RunningMean()
        part.update(batch)
        parts.append(part)
    empty = RunningMean()
    empty.merge(parts[2])
    empty.merge(parts[0])
    empty.merge(RunningMean())
    empty.merge(parts[1])
    assert_is(empty.compute(), one_shot(values.values))
    assert_is(parts[1].compute(), one_shot(values.values[13:30]))


def test_running_mean_says_what_it_lacks():
    running = RunningMean()
    running.update(stream())
    result = running.compute()
    assert result["reason"].dims == ("layer", "head")
    assert result["layer"].values.tolist() == [4, 5, 6]
    assert result["reason"].values.tolist() == [
        ["", "there is no value"],
        ["", ""],
        ["one value alone has no variance", ""],
    ]
    assert result.attrs == {
        "name": "entropy",
        "units": "nats",
        "result": "running_mean",
        "method": "merged batches",
        "over": ["sample"],
        "reason": "1 of 6 cells: there is no value; 1 of 6 cells: one value alone has no variance",
    }


def test_running_mean_over_two_dims_of_whole_numbers():
    values = xr.DataArray(np.arange(24).reshape(4, 3, 2) % 7, dims=("sample", "head", "arm"))
    running = RunningMean(over=("head", "sample"))
    for batch in (values.isel(sample=[0]), values.isel(sample=[1, 2, 3], head=[2, 0, 1])):
        running.update(batch)
    assert_is(running.compute(), one_shot(values.values.reshape(12, 2)))


def test_running_mean_of_half_precision_is_computed_in_double():
    values = stream().astype("float16")
    running = RunningMean()
    running.update(values)
    assert_is(running.compute(), one_shot(values.values.astype(np.float64)))


def test_running_mean_refuses_other_cells():
    running = RunningMean()
    running.update(stream())
    for other in (stream().isel(layer=[0, 1]), stream().assign_coords(layer=[1, 2, 3])):
        with pytest.raises(StatisticsError, match="`RunningMean`: expected the cells of the batches before"):
            running.update(other)
    with pytest.raises(StatisticsError) as raised:
        running.update(stream().isel(head=0))
    assert str(raised.value) == (
        "`RunningMean`: expected the cells of the batches before, {'layer': 3, 'head': 2}, with their "
        "labels, but got cells {'layer': 3}. Give every batch the same labels on all dims but those averaged "
        "over."
    )
    assert_is(running.compute(), one_shot(stream().values))


def test_running_mean_refuses_to_merge_over_other_dims():
    with pytest.raises(StatisticsError) as raised:
        RunningMean(("seed", "sample")).merge(RunningMean("sample"))
    assert str(raised.value) == (
        "`RunningMean`: expected another one over (seed, sample), but got one over (sample). "
        "Make both with the same `over`."
    )


def test_running_mean_of_nothing_says_what_to_do():
    with pytest.raises(StatisticsError) as raised:
        RunningMean().compute()
    assert str(raised.value) == (
        "`RunningMean`: expected at least one batch, but got none. Call update(values) first."
    )


def test_running_mean_refuses_infinite_values():
    with pytest.raises(
        StatisticsError, match="expected finite numbers, or NaN where there is none, but got 1"
    ):
        RunningMean().update(xr.DataArray([1.0, np.inf], dims="sample"))
