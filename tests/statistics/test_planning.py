import math

import numpy as np
import pytest
import xarray as xr

import reference_statistics as reference
from clsight import StatisticsError
from clsight.statistics import equivalence, power_of_equivalence, seeds_for_equivalence

STUDIES = 20_000


@pytest.mark.parametrize(
    ("spread", "pairs", "margin", "level", "difference"),
    [
        (1.4, 10, 0.5, 0.05, 0.0),  # the pilot on digits: half a point is out of reach
        (1.4, 70, 0.5, 0.05, 0.0),
        (0.2, 3, 0.5, 0.05, 0.0),
        (0.2, 2, 0.5, 0.1, 0.1),
        (1.0, 30, 0.7, 0.05, -0.4),
        (1.0, 30, 0.7, 0.05, 0.7),  # at the margin: the level
        (1.0, 200, 0.3, 0.01, 0.0),
    ],
)
def test_power_matches_simulated_studies(spread, pairs, margin, level, difference):
    power = float(power_of_equivalence(spread, pairs, margin=margin, level=level, difference=difference))
    simulated = reference.simulated_power(
        spread, pairs, margin, level, difference, studies=STUDIES, seed=pairs
    )
    # four standard errors of a share among the studies
    assert power == pytest.approx(simulated, abs=4 * math.sqrt(max(power * (1 - power), 1e-4) / STUDIES))


def test_power_is_how_often_equivalence_is_found():
    generator = np.random.default_rng(0)
    a = xr.DataArray(generator.normal(0.1, 1.0, size=(4000, 12)), dims=("study", "seed"))
    found = float((equivalence(a, xr.zeros_like(a), margin=0.9)["verdict"] == "equivalent").mean())
    power = float(power_of_equivalence(1.0, 12, margin=0.9, difference=0.1))
    assert power == pytest.approx(found, abs=4 * math.sqrt(power * (1 - power) / 4000))


def test_power_has_the_dims_of_the_spread_and_the_numbers_of_pairs():
    spread = xr.DataArray(
        [[0.5, 1.0, 0.0], [2.0, np.nan, 4.0]], dims=("task", "arm"), coords={"task": ["a", "b"]}
    )
    power = power_of_equivalence(spread, [5, 10, 20, 40], margin=1.0)
    assert power.dims == ("task", "arm", "n")
    assert power["n"].values.tolist() == [5, 10, 20, 40]
    assert float(power.sel(task="b", n=20).isel(arm=0)) == float(power_of_equivalence(2.0, 20, margin=1.0))
    assert np.argwhere(power.isnull().any("n").values).tolist() == [[0, 2], [1, 1]]
    assert power.attrs["reason"] == "2 of 6 cells: a spread that is not above 0 plans nothing"
    assert (power.dropna("arm").diff("n") >= 0).all()


def test_power_depends_on_margin_over_spread_alone():
    one = power_of_equivalence(0.02, 15, margin=0.015, difference=0.002)
    other = power_of_equivalence(2.0, 15, margin=1.5, difference=-0.2)
    assert float(one) == pytest.approx(float(other), rel=1e-9)


@pytest.mark.parametrize("power", [0.3, 0.8, 0.99])
def test_seeds_are_the_fewest_with_the_power(power):
    spread = xr.DataArray([0.1, 0.4, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0], dims="task")
    result = seeds_for_equivalence(spread, margin=1.0, power=power)
    every = power_of_equivalence(spread, range(2, 100), margin=1.0)
    enough = (every >= power).values
    assert result["n"].values.tolist() == [int(every["n"][row][0]) for row in enough]
    np.testing.assert_array_equal(result["power"], [row[row >= power][0] for row in every.values])
    assert result.attrs["reason"] == ""


def test_seeds_of_many_pairs_are_near_the_normal_formula():
    # n = ((z of 0.95 + z of 0.9) · spread / margin)²: 0.1 of the power is lost at each side
    expected = ((1.6449 + 1.2816) * 20) ** 2
    assert int(seeds_for_equivalence(20.0, margin=1.0)["n"]) == pytest.approx(expected, rel=0.002)


def test_seeds_say_where_there_are_none():
    spread = xr.DataArray([1.0, 0.0, 9.0], dims="task")
    result = seeds_for_equivalence(spread, margin=1.0, at_most=50)
    assert result["n"].values.tolist() == [int(seeds_for_equivalence(1.0, margin=1.0)["n"]), -1, -1]
    assert result["reason"].values.tolist() == [
        "",
        "a spread that is not above 0 plans nothing",
        f"50 pairs have a power of only {float(power_of_equivalence(9.0, 50, margin=1.0)):.3g}",
    ]
    assert np.isnan(float(result["power"][1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"margin": math.inf},
            "`seeds_for_equivalence`: expected `margin` as a finite number above 0, but got inf. "
            "Declare `margin` in the unit of the values, before looking at them.",
        ),
        (
            {"margin": 1.0, "power": 1},
            "`seeds_for_equivalence`: expected `power` between 0 and 1, but got 1. A usual one is power=0.8.",
        ),
        (
            {"margin": 1.0, "difference": -1.0},
            "`seeds_for_equivalence`: expected a `difference` nearer to 0 than the margin 1, but got -1.0. "
            "No number of seeds shows equivalence there: leave `difference` at 0.",
        ),
        (
            {"margin": 1.0, "difference": math.nan},
            "`seeds_for_equivalence`: expected `difference` as a finite number, but got nan. "
            "Give `difference` in the unit of the values.",
        ),
    ],
)
def test_seeds_refuse_a_wrong_setting(settings, message):
    with pytest.raises(StatisticsError) as raised:
        seeds_for_equivalence(1.0, **settings)
    assert str(raised.value) == message


def test_power_refuses_one_pair():
    with pytest.raises(StatisticsError) as raised:
        power_of_equivalence(1.0, [1, 2], margin=1.0)
    assert str(raised.value) == (
        "`power_of_equivalence`: expected `n` as a whole number of at least 2, but got 1. Give 2 or more."
    )


def test_power_refuses_a_spread_that_is_no_number():
    with pytest.raises(
        StatisticsError, match=r"expected labeled values, an xarray\.DataArray, but got an object"
    ):
        power_of_equivalence("1.4", 10, margin=1.0)
