import numpy as np
import pytest
import xarray as xr

import reference_statistics as reference
from clsight import StatisticsError
from clsight.statistics import bootstrap

RESAMPLES = 400


def labeled(shape=(3, 2, 7), *, seed=0):
    """Skewed values with dims of different sizes and labels on all."""
    values = np.random.default_rng(seed).exponential(size=shape)
    dims = ("layer", "head", "sample")
    coords = {dim: 10 * np.arange(size) for dim, size in zip(dims, shape, strict=True)}
    coords["layer_name"] = ("layer", [f"l{i}" for i in range(shape[0])])
    coords["label"] = ("sample", np.arange(shape[2]))
    return xr.DataArray(values, dims=dims, coords=coords, name="entropy", attrs={"units": "nats"})


def draws_of(size, *, seed=0):
    """The positions that a generator with this seed draws first."""
    return np.random.default_rng(seed).integers(0, size, (RESAMPLES, size))


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa", "expanded"])
def test_bootstrap_matches_resampling_by_hand_with_the_same_draws(method):
    values, draws = labeled(), draws_of(7, seed=4)
    result = bootstrap(values, method=method, confidence=0.8, resamples=RESAMPLES, seed=4)
    assert result["low"].dims == ("layer", "head")
    tail = reference.expanded_tail(7, 0.8) if method == "expanded" else 0.1
    interval = {"basic": reference.basic_interval, "BCa": reference.bca_interval}.get(
        method, reference.percentile_interval
    )
    for layer, head in np.ndindex(3, 2):
        row, cell = values.values[layer, head].tolist(), result.isel(layer=layer, head=head)
        low, high = interval(row, draws, tail)
        np.testing.assert_allclose(cell["estimate"], reference.mean(row), rtol=1e-12)
        np.testing.assert_allclose([cell["low"], cell["high"]], [low, high], rtol=1e-11)


@pytest.mark.parametrize("statistic", ["median", np.median])
def test_bootstrap_of_another_statistic_matches_resampling_by_hand(statistic):
    values, draws = labeled().isel(layer=1), draws_of(7)
    result = bootstrap(values, statistic=statistic, method="percentile", resamples=RESAMPLES)
    for head in range(2):
        row = values.values[head].tolist()
        low, high = reference.percentile_interval(row, draws, 0.025, lambda kept: sorted(kept)[3])
        np.testing.assert_allclose(result["estimate"][head], sorted(row)[3])
        np.testing.assert_allclose([result["low"][head], result["high"][head]], [low, high], rtol=1e-12)
    assert result.attrs["statistic"] == "median"


def test_bootstrap_keeps_labels_and_says_what_was_done():
    result = bootstrap(labeled(), resamples=RESAMPLES, seed=3)
    assert set(result.coords) == {"layer", "head", "layer_name"}
    assert result["layer"].values.tolist() == [0, 10, 20]
    assert result.attrs == {
        "name": "entropy",
        "units": "nats",
        "result": "bootstrap",
        "method": "expanded",
        "statistic": "mean",
        "confidence": 0.95,
        "resamples": RESAMPLES,
        "seed": 3,
        "over": ["sample"],
        "n": 7,
        "reason": "",
    }


def test_bootstrap_of_a_selection_is_the_selection_of_the_bootstrap():
    values = labeled()
    whole = bootstrap(values, resamples=RESAMPLES)
    part = bootstrap(values.sel(layer=[20, 0], head=10), resamples=RESAMPLES)
    xr.testing.assert_allclose(part, whole.sel(layer=[20, 0], head=10), rtol=1e-13)


def test_bootstrap_does_not_depend_on_how_many_cells_fit_at_once(monkeypatch):
    values = labeled()
    whole = bootstrap(values, resamples=RESAMPLES)
    monkeypatch.setattr("clsight.statistics.resampling.BLOCK", 4 * RESAMPLES)
    np.testing.assert_allclose(bootstrap(values, resamples=RESAMPLES)["low"], whole["low"], rtol=1e-13)


def test_bootstrap_moves_and_stretches_with_the_values():
    values = labeled()
    plain, changed = bootstrap(values, resamples=RESAMPLES), bootstrap(5 - 2 * values, resamples=RESAMPLES)
    np.testing.assert_allclose(changed["low"], 5 - 2 * plain["high"], rtol=1e-12)
    np.testing.assert_allclose(changed["high"], 5 - 2 * plain["low"], rtol=1e-12)


# --- coverage ---

STUDIES = 2000
SURE = 3 * (0.95 * 0.05 / STUDIES) ** 0.5  # three standard errors of a share of 0.95 among 2,000 studies


def coverage(values, truth, **settings):
    """Return in how many of the studies, the cells of `values`, the interval holds the truth."""
    result = bootstrap(values, resamples=999, **settings)
    return float(((result["low"] <= truth) & (truth <= result["high"])).mean())


@pytest.mark.parametrize("size", [10, 20])
def test_bootstrap_covers_the_mean_of_few_normal_values(size):
    studies = np.random.default_rng(1).normal(3.0, 2.0, size=(STUDIES, size))
    values = xr.DataArray(studies, dims=("study", "seed"))
    # 0.01: Hesterberg's interval is right to second order, and 999 draws resolve its ends to that
    assert coverage(values, 3.0, over="seed") == pytest.approx(0.95, abs=SURE + 0.01)


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_bootstrap_by_the_plain_methods_covers_less_as_its_page_says(method):
    values = xr.DataArray(np.random.default_rng(2).normal(size=(STUDIES, 5)), dims=("study", "seed"))
    # 0.84, the number of the docstring; three standard errors of a share of 0.84 among 2,000
    assert coverage(values, 0.0, over="seed", method=method) == pytest.approx(0.84, abs=0.025)


CROSSED = 400


def crossed_studies(by_seed, by_input, noise):
    """Values with an effect of the seed, one of the input that all seeds share, and noise; true mean 0."""
    generator = np.random.default_rng(3)
    shapes = (CROSSED, 10, 1), (CROSSED, 1, 30), (CROSSED, 10, 30)
    seed, shared, both = (generator.normal(size=shape) for shape in shapes)
    return xr.DataArray(by_seed * seed + by_input * shared + noise * both, dims=("study", "seed", "sample"))


@pytest.mark.parametrize("effects", [(0.2, 1.0, 0.5), (1.0, 1.0, 1.0), (1.0, 0.1, 0.5)])
def test_bootstrap_of_seeds_and_shared_inputs_covers_whichever_differ_more(effects):
    # three standard errors of a share of 0.95 among the studies, and 0.01 as above
    error = 3 * (0.95 * 0.05 / CROSSED) ** 0.5 + 0.01
    found = coverage(crossed_studies(*effects), 0.0, over=("seed", "sample"))
    assert found == pytest.approx(0.95, abs=error)


def test_bootstrap_of_shared_inputs_as_if_each_seed_had_its_own_covers_too_little():
    values = crossed_studies(0.2, 1.0, 0.5)
    assert coverage(values, 0.0, over=("seed", "sample"), shared=False) < 0.8


def test_bootstrap_of_own_inputs_covers():
    values = crossed_studies(0.5, 0.0, 1.0)
    error = 3 * (0.95 * 0.05 / CROSSED) ** 0.5 + 0.01
    assert coverage(values, 0.0, over=("seed", "sample"), shared=False) >= 0.95 - error


# --- two dims ---


def grid_of_seeds():
    """Two cells of four seeds by five inputs, with labels."""
    values = np.random.default_rng(5).normal(size=(4, 2, 5))
    return xr.DataArray(values, dims=("seed", "arm", "sample"), coords={"arm": ["a", "b"]})


def holes():
    """A seed that diverged, an input that is missing throughout, and one value."""
    grid = grid_of_seeds().copy()
    grid[2, 0, :] = np.nan
    grid[:, 0, 4] = np.nan
    grid[1, 0, 1] = np.nan
    return grid


@pytest.mark.parametrize("method", ["percentile", "basic", "expanded"])
def test_bootstrap_over_seeds_and_shared_inputs_matches_loops(method):
    values = grid_of_seeds()
    result = bootstrap(values, ("seed", "sample"), method=method, resamples=RESAMPLES, seed=6)
    generator = np.random.default_rng(6)
    seeds, inputs = generator.integers(0, 4, (RESAMPLES, 4)), generator.integers(0, 5, (RESAMPLES, 5))
    for arm in range(2):
        grid = values.values[:, arm].tolist()
        tail = reference.expanded_tail_of_grid(grid, 0.95) if method == "expanded" else 0.025
        means = [reference.mean_of_shared_draw(grid, *draw) for draw in zip(seeds, inputs, strict=True)]
        low, high = reference.quantile(means, tail), reference.quantile(means, 1 - tail)
        estimate = reference.mean([x for row in grid for x in row])
        expected = (2 * estimate - high, 2 * estimate - low) if method == "basic" else (low, high)
        np.testing.assert_allclose(result["estimate"][arm], estimate, rtol=1e-12)
        np.testing.assert_allclose([result["low"][arm], result["high"][arm]], expected, rtol=1e-11)
    assert result.attrs["n"] == [4, 5]
    assert result.attrs["shared"] is True


def test_bootstrap_over_seeds_and_shared_inputs_leaves_holes_out():
    values = holes()
    result = bootstrap(
        values, ("seed", "sample"), method="percentile", skipna=True, resamples=RESAMPLES, seed=6
    )
    generator = np.random.default_rng(6)
    seeds, inputs = generator.integers(0, 3, (RESAMPLES, 3)), generator.integers(0, 4, (RESAMPLES, 4))
    grid = values.values[[0, 1, 3], 0, :4].tolist()
    means = [reference.mean_of_shared_draw(grid, *draw) for draw in zip(seeds, inputs, strict=True)]
    expected = [reference.quantile(means, 0.025), reference.quantile(means, 0.975)]
    np.testing.assert_allclose([result["low"][0], result["high"][0]], expected, rtol=1e-11)
    assert result["n"].values.tolist() == [3, 4]
    assert result["reason"].values[0].startswith("9 of 20 values are NaN and left out")
    assert result.attrs["reason"].startswith("1 of 2 cells: 9 of 20 values are NaN and left out")


@pytest.mark.parametrize("make", [grid_of_seeds, holes])
@pytest.mark.parametrize("method", ["percentile", "expanded"])
def test_bootstrap_over_seeds_and_their_own_inputs_matches_loops(make, method):
    values = make()
    settings = {"method": method, "skipna": True, "resamples": RESAMPLES, "seed": 7}
    result = bootstrap(values, ("seed", "sample"), shared=False, **settings)
    for arm in range(2):
        kept = values[:, arm].dropna("seed", how="all").dropna("sample", how="all")
        generator = np.random.default_rng(7)
        seeds = generator.integers(0, kept.sizes["seed"], (RESAMPLES, kept.sizes["seed"]))
        shares = generator.random((RESAMPLES, *kept.shape))
        grid = kept.values.tolist()
        means = [reference.mean_of_own_draw(grid, *draw) for draw in zip(seeds, shares, strict=True)]
        tail = reference.expanded_tail(len(grid), 0.95) if method == "expanded" else 0.025
        expected = [reference.quantile(means, tail), reference.quantile(means, 1 - tail)]
        np.testing.assert_allclose([result["low"][arm], result["high"][arm]], expected, rtol=1e-11)


def test_bootstrap_over_seeds_and_one_input_is_that_over_seeds():
    values = labeled().rename(head="seed").isel(sample=[2]).transpose("layer", "seed", "sample")
    values = xr.concat([values, values + 1, values * 2], "seed").drop_vars("seed")
    both = bootstrap(values, ("seed", "sample"), resamples=RESAMPLES)
    one = bootstrap(values.isel(sample=0), "seed", resamples=RESAMPLES)
    np.testing.assert_allclose(both["low"], one["low"], rtol=1e-12)
    np.testing.assert_allclose(both["high"], one["high"], rtol=1e-12)


def test_bootstrap_of_a_grid_whose_seeds_and_inputs_are_alike_has_an_interval():
    grid = xr.DataArray(np.indices((6, 4)).sum(0) % 2, dims=("seed", "sample"))
    result = bootstrap(grid, ("seed", "sample"), resamples=RESAMPLES)
    assert float(result["low"]) < float(result["estimate"]) == 0.5 < float(result["high"])


# --- what has no interval ---


def reason_of(values, **settings):
    result = bootstrap(xr.DataArray(values, dims="seed"), "seed", **settings)
    return float(result["estimate"]), float(result["low"]), result["reason"].item()


def test_bootstrap_of_one_value_has_no_interval():
    estimate, low, reason = reason_of([0.25])
    assert (estimate, reason) == (0.25, "one unit alone has no interval")
    assert np.isnan(low)


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa", "expanded"])
def test_bootstrap_of_equal_values_has_no_interval(method):
    estimate, low, reason = reason_of([0.1 + 0.2, 0.3, 0.3], method=method)
    assert estimate == pytest.approx(0.3)
    assert np.isnan(low)
    assert reason == "all 3 values are the same, so they do not say how far others would be off"


def test_bootstrap_of_a_cell_with_nan_has_no_result_unless_it_is_left_out():
    estimate, low, reason = reason_of([1.0, np.nan, 2.0])
    assert np.isnan([estimate, low]).all()
    assert reason == "1 of 3 values is NaN; skipna=True leaves it out"
    values = np.random.default_rng(0).normal(size=9)
    values[[1, 4]] = np.nan
    told = reason_of(values, skipna=True)
    assert told[:2] == reason_of(values[~np.isnan(values)])[:2]
    assert told[2] == "2 of 9 values are NaN and left out"


def test_bootstrap_of_nothing_says_so():
    assert reason_of([])[2] == "there are no values"
    assert reason_of([np.nan, np.nan], skipna=True)[2] == "2 of 2 values are NaN and left out"


def test_bootstrap_says_where_the_interval_is_only_the_range():
    # 4^-4 of all draws are the smallest value four times: more than lies below the expanded interval
    values = [1.0, 2.0, 3.0, 5.0]
    _, low, reason = reason_of(values)
    assert low == 1.0
    assert reason == (
        "4 units are too few: no draw reaches as far as the interval should, and it covers less"
    )
    assert reason_of([*values, 9.0])[2] == ""
    # of three values 3^-3 = 0.037 of all draws, which is more than 0.025 and less than 0.05
    assert reason_of(values[:3], method="percentile")[2].startswith("3 units are too few")
    assert reason_of(values[:3], method="percentile", confidence=0.9)[2] == ""


def test_bootstrap_says_where_bca_is_not_defined():
    # the median of nearly all draws is 0, as is that of the values without any one of them
    _, low, reason = reason_of([0.0] * 9 + [1.0], method="BCa", statistic="median")
    assert np.isnan(low)
    assert reason == "the BCa interval is not defined for these values"


# --- messages ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"over": "sampel"},
            "`bootstrap`: expected `over` among the dims (layer, head, sample), but got 'sampel'. "
            "Did you mean `sample`? Options: head, layer, sample.",
        ),
        (
            {"over": ("layer", "head", "sample")},
            "`bootstrap`: expected `over` as different dims, 1 to 2, but got ('layer', 'head', 'sample'). "
            "Average over further dims first: values.mean(...).",
        ),
        (
            {"confidence": 95},
            "`bootstrap`: expected `confidence` between 0 and 1, but got 95. A usual one is confidence=0.95.",
        ),
        (
            {"resamples": 10},
            "`bootstrap`: expected `resamples` as a whole number of at least 100, but got 10. "
            "Give 100 or more.",
        ),
        (
            {"method": "bca"},
            "`bootstrap`: expected a known `method`, but got 'bca'. "
            "Options: BCa, basic, expanded, percentile.",
        ),
        (
            {"method": "BCa", "over": ("head", "sample")},
            "`bootstrap`: expected a known `method`, but got 'BCa'. Options: basic, expanded, percentile.",
        ),
        (
            {"statistic": "mode"},
            "`bootstrap`: expected a known `statistic`, but got 'mode'. Options: mean, median.",
        ),
        (
            {"statistic": "median", "over": ("head", "sample")},
            "`bootstrap`: expected `statistic=\"mean\"` over two dims, but got 'median'. "
            "Apply it over `sample` first, then bootstrap over `head`.",
        ),
        (
            {"seed": -1},
            "`bootstrap`: expected `seed` as a whole number of at least 0, but got -1. Give 0 or more.",
        ),
    ],
)
def test_bootstrap_refuses_a_wrong_setting(settings, message):
    with pytest.raises(StatisticsError) as raised:
        bootstrap(labeled(), **settings)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [1.0, 2.0],
            "`bootstrap`: expected labeled values, an xarray.DataArray, but got an object of type list. "
            "Give a measure of a record, or label the numbers: xr.DataArray(numbers, dims=[...]).",
        ),
        (
            xr.DataArray(["a"], dims="sample"),
            "`bootstrap`: expected real numbers, but got values of type <U1. "
            "Give a variable that holds numbers.",
        ),
        (
            xr.DataArray([1.0, np.inf, -np.inf], dims="sample"),
            "`bootstrap`: expected finite numbers, or NaN where there is none, but got 2 infinite of 3. "
            "Mark what diverged as NaN: values.where(np.isfinite(values)).",
        ),
    ],
)
def test_bootstrap_refuses_other_values(values, message):
    with pytest.raises(StatisticsError) as raised:
        bootstrap(values)
    assert str(raised.value) == message
