import numpy as np
import pytest
import xarray as xr

from clsight import StatisticsError
from clsight import statistics as st
from clsight.statistics import in_words

SEEDS = xr.DataArray(
    [0.5, 0.25, 0.75, 1.0, 0.0, 0.5], dims="seed", name="mean_entropy", attrs={"units": "nats"}
)
ZEROS = xr.zeros_like(SEEDS)
UNNAMED = SEEDS.rename(None).drop_attrs()
NOISE = xr.DataArray(np.random.default_rng(0).normal(size=30), dims="seed")


def words(result):
    return in_words(result).item()


def test_in_words_of_an_interval():
    low, high = (float(st.bootstrap(SEEDS, "seed")[name]) for name in ("low", "high"))
    assert words(st.bootstrap(SEEDS, "seed")) == (
        f"Mean entropy: mean 0.5 nats, 95 % interval {low:.4g} to {high:.4g} nats "
        "(expanded bootstrap, n = 6 of seed)."
    )
    grid = SEEDS.expand_dims(sample=3)
    assert words(st.bootstrap(grid, ("seed", "sample"), resamples=100)).endswith(
        "(expanded bootstrap, n = 6 of seed, then sample)."
    )
    assert words(st.bootstrap(ZEROS, "seed", statistic="median")) == (
        "Mean entropy: median 0 nats, without an interval. All 6 values are the same, so they do not say "
        "how far others would be off."
    )


def test_in_words_of_a_permutation_test():
    assert words(st.paired_permutation(SEEDS, ZEROS)) == (
        "Mean entropy: a − b = 0.5 nats, p = 0.0625 (two-sided, all 64 sign flips, n = 6 of seed). "
        "5 differing of 6 pairs cannot reach a two-sided p below 0.0625; the level 0.05 needs at least 6."
    )
    drawn = st.paired_permutation(NOISE, 0 * NOISE, alternative="less", resamples=999)
    assert words(drawn) == (
        f"A − b = {float(NOISE.mean()):.4g}, p = {float(drawn['p_value']):.3g} "
        "(less, 999 random sign flips, n = 30 of seed)."
    )
    missing = st.paired_permutation(SEEDS.where(SEEDS > 0), ZEROS)
    assert words(missing) == "Mean entropy: no test. 1 of 6 pairs is NaN; skipna=True leaves it out."


def test_in_words_of_equivalence_never_claims_no_difference():
    result = st.equivalence(UNNAMED, ZEROS.rename(None), margin=0.4)
    numbers = {name: float(result[name]) for name in ("low", "high", "p_value", "p_difference")}
    assert words(result) == (
        "Different: a − b = 0.5, 90 % interval {low:.4g} to {high:.4g} (n = 6 of seed); "
        "p = {p_value:.3g} for within ±0.4, p = {p_difference:.3g} for not zero.".format(**numbers)
    )
    assert words(st.equivalence(SEEDS, ZEROS, margin=2)).startswith(
        "Mean entropy: equivalent: a − b = 0.5 nats, "
    )
    assert words(st.equivalence(SEEDS - 0.4, ZEROS, margin=0.1)).startswith("Mean entropy: inconclusive: ")
    assert words(st.equivalence(ZEROS, ZEROS, margin=0.1)) == (
        "Mean entropy: inconclusive within ±0.1 nats. All 6 differences are the same, and without spread "
        "there is no t-test."
    )


def test_in_words_of_a_family():
    p = xr.DataArray([0.01, np.nan, 0.5], dims="head", coords={"head": [2, 3, 4]})
    told = in_words(st.holm(p))
    assert told["head"].values.tolist() == [2, 3, 4]
    assert told.values.tolist() == [
        "Adjusted p = 0.02 (Holm, up to 2 tests).",
        "No p-value.",
        "Adjusted p = 0.5 (Holm, up to 2 tests).",
    ]
    assert in_words(st.benjamini_hochberg(p)).values[0] == (
        "Adjusted p = 0.02 (Benjamini and Hochberg, up to 2 tests)."
    )
    assert words(st.holm(p[0])) == "Adjusted p = 0.01 (Holm, up to 1 test)."


def test_in_words_of_a_plan():
    power = float(st.power_of_equivalence(1.4, 70, margin=0.5))
    assert words(st.power_of_equivalence(1.4, 70, margin=0.5)) == (
        f"Power {power:.3f} to show equivalence within ±0.5 at level 0.05 at a difference of 0."
    )
    assert words(st.power_of_equivalence(0.0, 70, margin=0.5)) == "No power. The spread is not above 0."
    plan = st.seeds_for_equivalence(1.4, margin=0.5)
    assert words(plan) == (
        f"{int(plan['n'])} pairs show equivalence within ±0.5 at level 0.05 with power "
        f"{float(plan['power']):.3f} at a difference of 0."
    )
    assert words(st.seeds_for_equivalence(1.4, margin=0.5, at_most=10)).startswith(
        "No number of pairs found for equivalence within ±0.5 at level 0.05. 10 pairs have a power of only"
    )


def test_in_words_of_a_pilot():
    result = st.spread_of_pairs(SEEDS, ZEROS)
    assert words(result) == (
        f"Mean entropy: differences spread by {float(result['estimate']):.4g} nats, at most "
        f"{float(result['high']):.4g} nats with confidence 80 % (n = 6 of seed)."
    )
    assert (
        words(st.spread_of_pairs(ZEROS, ZEROS)) == "Mean entropy: no spread. All 6 differences are the same."
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1.0, 3.0], "Mean entropy: mean 2 nats, standard deviation 1.414 nats (n = 2)."),
        ([1.0, np.nan], "Mean entropy: mean 1 nats. One value alone has no variance."),
        ([np.nan, np.nan], "Mean entropy: no mean. There is no value."),
    ],
)
def test_in_words_of_a_running_mean(values, sentence):
    running = st.RunningMean("seed")
    running.update(SEEDS[:2].copy(data=values))
    assert words(running.compute()) == sentence


def test_in_words_of_a_selection():
    a = xr.DataArray(np.random.default_rng(0).normal(size=(2, 3, 6)), dims=("layer", "head", "seed"))
    result = st.equivalence(a, a * 0.5, margin=1.0)
    told = in_words(result)
    assert told.dims == ("layer", "head")
    assert in_words(result.isel(layer=1, head=2)).item() == told.values[1, 2]
    assert in_words(result.transpose("head", "layer")).values[2, 1] == told.values[1, 2]


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (SEEDS, "an object of type DataArray"),
        ("p", "an object of type str"),
        (xr.Dataset(attrs={"result": "magic"}), "an object of type Dataset with result='magic'"),
    ],
)
def test_in_words_refuses_what_is_no_result(result, got):
    with pytest.raises(StatisticsError) as raised:
        in_words(result)
    assert str(raised.value) == (
        f"`in_words`: expected a result of clsight.statistics, with its attributes, but got {got}. "
        "Select cells with .sel or .isel, which keep the attributes."
    )
