import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import reference_statistics as reference
from clsight import StatisticsError
from clsight.statistics import paired_permutation
from clsight.statistics.sign_flips import ALTERNATIVES


def pair(differences, *, offset=0.0):
    """Two arms over seeds whose differences are these."""
    b = xr.DataArray(np.full(len(differences), offset), dims="seed", coords={"seed": range(len(differences))})
    return b + np.array(differences, dtype=float), b


def arms(seeds=8, *, seed=0):
    """Two arms of two layers and three heads, the seed in the middle, no difference between them."""
    values = np.random.default_rng(seed).normal(size=(2, 2, seeds, 3))
    coords = {"layer": [4, 5], "seed": range(seeds), "head": [7, 8, 9]}
    a, b = (xr.DataArray(x, dims=("layer", "seed", "head"), coords=coords, name="entropy") for x in values)
    return a.assign_attrs(units="nats"), b


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_paired_permutation_matches_all_sign_flips_by_hand(alternative):
    a, b = arms()
    result = paired_permutation(a, b, alternative=alternative)
    assert result["p_value"].dims == ("layer", "head")
    assert result["layer"].values.tolist() == [4, 5]
    for layer, head in np.ndindex(2, 3):
        differences = (a - b).values[layer, :, head]
        # scaled to whole numbers of 52 bits: exact sums, and ties only where there are ties
        whole = [int(d * 2**52) for d in differences]
        expected = reference.sign_flip_p(whole, alternative)
        assert float(result["p_value"][layer, head]) == pytest.approx(expected, rel=1e-12)
        assert float(result["estimate"][layer, head]) == pytest.approx(differences.mean(), rel=1e-12)
    assert (result["flips"] == 256).all()


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=7), st.sampled_from(ALTERNATIVES), st.floats(-3, 3))
def test_paired_permutation_counts_ties_and_zeros(tenths, alternative, offset):
    # tenths are no binary fractions: their sums tie only up to rounding
    a, b = pair([tenth / 10 for tenth in tenths], offset=offset)
    result = paired_permutation(a, b, alternative=alternative)
    assert float(result["p_value"]) == pytest.approx(reference.sign_flip_p(tenths, alternative), rel=1e-12)
    assert int(result["nonzero"]) == sum(tenth != 0 for tenth in tenths)


def test_paired_permutation_of_float32_counts_ties():
    tenths = [3, -1, 2, -4, 1, 5]
    a, b = pair([tenth / 10 for tenth in tenths], offset=0.7)
    result = paired_permutation(a.astype("float32"), b.astype("float32"))
    assert float(result["p_value"]) == pytest.approx(reference.sign_flip_p(tenths), rel=1e-12)


def test_paired_permutation_takes_a_difference_of_rounding_for_zero():
    a, b = pair([0, 1, 2])
    result = paired_permutation(a + 0.3, b + (0.1 + 0.2))
    assert result["nonzero"].item() == 2
    assert result["smallest_p"].item() == 0.5


def test_paired_permutation_of_zeros_beside_others_is_that_of_the_others():
    with_zeros = paired_permutation(*pair([0, 3, 0, 1, -2, 4, 5, 0]))
    without = paired_permutation(*pair([3, 1, -2, 4, 5]))
    assert float(with_zeros["p_value"]) == float(without["p_value"])
    assert float(with_zeros["smallest_p"]) == float(without["smallest_p"]) == 0.0625
    assert with_zeros["reason"].item() == (
        "5 differing of 8 pairs cannot reach a two-sided p below 0.0625; the level 0.05 needs at least 6"
    )


def test_paired_permutation_of_five_seeds_says_what_it_cannot_reach():
    result = paired_permutation(*pair([1, 2, 3, 4, 5]))
    assert float(result["p_value"]) == float(result["smallest_p"]) == 0.0625
    expected = "5 pairs cannot reach a two-sided p below 0.0625; the level 0.05 needs at least 6"
    assert result["reason"].item() == result.attrs["reason"] == expected
    assert result.attrs["n"] == int(result["n"]) == 5


@pytest.mark.parametrize(
    ("pairs", "settings", "smallest", "reason"),
    [
        (1, {}, 1.0, "1 pair cannot reach a two-sided p below 1; the level 0.05 needs at least 6"),
        (1, {"alternative": "less"}, 0.5, "1 pair cannot reach a less p below 0.5"),
        (6, {}, 2 / 64, ""),
        (5, {"alternative": "greater"}, 1 / 32, ""),
        (5, {"level": 0.1}, 2 / 32, ""),
        (20, {}, 2 / 10_000, ""),
        (20, {"resamples": 100, "level": 0.01}, 2 / 101, "100 random flips cannot reach a two-sided p"),
        (14, {"resamples": 100}, 2 / 2**14, ""),
    ],
)
def test_paired_permutation_knows_the_smallest_p(pairs, settings, smallest, reason):
    sign = -1 if settings.get("alternative") == "less" else 1
    result = paired_permutation(*pair([sign * (i + 1) for i in range(pairs)]), **settings)
    assert float(result["smallest_p"]) == pytest.approx(smallest, rel=1e-12)
    assert float(result["p_value"]) >= smallest * (1 - 1e-12)
    assert result["reason"].item().startswith(reason)
    assert bool(reason) == bool(result["reason"].item())


def test_paired_permutation_of_equal_arms_is_one_and_says_so():
    a, _ = arms()
    result = paired_permutation(a, a)
    assert (result["p_value"] == 1).all()
    assert result.attrs["reason"] == "6 of 6 cells: all 8 differences are zero"


def test_paired_permutation_by_chance_is_near_the_exact_one_and_never_zero():
    generator = np.random.default_rng(0)
    differences = generator.normal(0.4, 1.0, size=17)
    drawn = paired_permutation(*pair(differences), resamples=20_000, seed=3)
    exact = paired_permutation(*pair(differences), resamples=2**17)
    p = float(exact["p_value"])
    assert int(drawn["flips"]) == 20_000
    assert int(exact["flips"]) == 2**17
    # four standard errors of twice a share of p/2 among 20,000 flips
    assert float(drawn["p_value"]) == pytest.approx(p, abs=4 * 2 * math.sqrt(p / 2 / 20_000))
    assert float(drawn["p_value"]) != p
    largest = paired_permutation(*pair(np.arange(1, 41)), resamples=1000)
    assert float(largest["p_value"]) == pytest.approx(2 / 1001)


def test_paired_permutation_by_chance_is_the_same_for_the_same_seed_and_any_selection():
    a, b = arms(seeds=30)
    first = paired_permutation(a, b, resamples=500, seed=1)
    xr.testing.assert_identical(first, paired_permutation(a, b, resamples=500, seed=1))
    chosen = {"layer": [1], "head": [2, 0]}
    part = paired_permutation(a.isel(chosen), b.isel(chosen), resamples=500, seed=1)
    np.testing.assert_array_equal(part["p_value"], first["p_value"].isel(chosen))
    assert not paired_permutation(a, b, resamples=500, seed=2)["p_value"].equals(first["p_value"])


def test_paired_permutation_finds_no_more_than_its_level_without_a_difference():
    a, b = (
        xr.DataArray(x, dims=("study", "seed")) for x in np.random.default_rng(0).normal(size=(2, 2000, 8))
    )
    found = float((paired_permutation(a, b)["p_value"] <= 0.05).mean())
    # exact: at most 12/256 by the steps of p; three standard errors of that among 2,000
    assert found == pytest.approx(12 / 256, abs=3 * math.sqrt(0.047 * 0.953 / 2000))


# --- pairs ---


def test_paired_permutation_matches_pairs_by_label():
    a, b = arms()
    shuffled = b.isel(seed=[3, 0, 7, 1, 2, 6, 5, 4], head=[2, 0, 1])
    xr.testing.assert_identical(paired_permutation(a, shuffled), paired_permutation(a, b))


def test_paired_permutation_compares_one_arm_with_many():
    a, b = arms()
    result = paired_permutation(a, b.isel(layer=0, drop=True))
    xr.testing.assert_identical(
        result.isel(layer=1, drop=True),
        paired_permutation(a, b.isel(layer=[0, 0]).assign_coords(layer=a["layer"])).isel(layer=1, drop=True),
    )


def test_paired_permutation_leaves_out_a_pair_with_nan_only_when_asked():
    a, b = arms()
    a[0, 2, 1] = np.nan
    b[0, 5, 1] = np.nan
    strict, lenient = paired_permutation(a, b), paired_permutation(a, b, skipna=True)
    assert np.argwhere(strict["p_value"].isnull().values).tolist() == [[0, 1]]
    assert strict["reason"].values[0, 1] == "2 of 8 pairs are NaN; skipna=True leaves them out"
    kept = [0, 1, 3, 4, 6, 7]
    expected = paired_permutation(a.isel(seed=kept), b.isel(seed=kept))
    np.testing.assert_array_equal(lenient["p_value"][0, 1], expected["p_value"][0, 1])
    assert lenient["n"].values.tolist() == [[8, 6, 8], [8, 8, 8]]
    assert lenient["reason"].values[0, 1] == "2 of 8 pairs are NaN and left out"


def test_paired_permutation_refuses_other_labels():
    a, b = arms()
    with pytest.raises(StatisticsError) as raised:
        paired_permutation(a, b.assign_coords(seed=np.arange(1, 9)))
    assert str(raised.value) == (
        "`paired_permutation`: expected the same labels of `seed` in both, each once, but got "
        "(0, 1, 2, 3, 4, …) and (1, 2, 3, 4, 5, …). Keep what both have: xarray.align(a, b, join='inner')."
    )


def test_paired_permutation_refuses_another_number_of_pairs():
    a, b = arms()
    with pytest.raises(StatisticsError) as raised:
        paired_permutation(a, b.isel(seed=slice(5)))
    assert str(raised.value) == (
        "`paired_permutation`: expected as many labels of `seed` in both, but got seed=8 and seed=5. "
        "Keep what both have: xarray.align(a, b, join='inner')."
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"over": "seeds"},
            "`paired_permutation`: expected `over` among the dims (layer, seed, head), but got 'seeds'. "
            "Did you mean `seed`? Options: head, layer, seed.",
        ),
        (
            {"over": ("seed", "head")},
            "`paired_permutation`: expected `over` as one dim, but got ('seed', 'head'). "
            "Average over further dims first: values.mean(...).",
        ),
        (
            {"alternative": "larger"},
            "`paired_permutation`: expected a known `alternative`, but got 'larger'. "
            "Options: greater, less, two-sided.",
        ),
        (
            {"level": 0},
            "`paired_permutation`: expected `level` between 0 and 1, but got 0. A usual one is level=0.05.",
        ),
        (
            {"resamples": 9.5},
            "`paired_permutation`: expected `resamples` as a whole number of at least 100, but got 9.5. "
            "Give 100 or more.",
        ),
    ],
)
def test_paired_permutation_refuses_a_wrong_setting(settings, message):
    with pytest.raises(StatisticsError) as raised:
        paired_permutation(*arms(), **settings)
    assert str(raised.value) == message
