import numpy as np
import pytest
import xarray as xr

import reference_statistics as reference
from clsight import StatisticsError
from clsight.statistics import equivalence


def arms(seeds=6, *, spread=1.0, difference=0.0, cells=(2, 3), seed=0):
    generator = np.random.default_rng(seed)
    dims, coords = ("layer", "seed", "head"), {"layer": [4, 5][: cells[0]], "seed": range(seeds)}
    shape = (cells[0], seeds, cells[1])
    b = xr.DataArray(generator.normal(size=shape), dims=dims, coords=coords, name="accuracy")
    return b + difference + spread * generator.normal(size=shape), b


def of(differences, **settings):
    a = xr.DataArray(np.asarray(differences, dtype=float), dims="seed")
    return equivalence(a, xr.zeros_like(a), **settings)


@pytest.mark.parametrize(("margin", "level"), [(0.3, 0.05), (1.5, 0.01)])
def test_equivalence_matches_the_textbook_t_formulas(margin, level):
    a, b = arms()
    result = equivalence(a, b, margin=margin, level=level)
    assert result["verdict"].dims == ("layer", "head")
    for layer, head in np.ndindex(2, 3):
        differences = (a.values[layer, :, head] - b.values[layer, :, head]).tolist()
        expected = reference.tost(differences, margin, level)
        names = ("estimate", "low", "high", "p_value", "p_difference")
        found = [float(result[name][layer, head]) for name in names]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert result.attrs["confidence"] == 1 - 2 * level
    assert result.attrs["margin"] == margin


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.1, -0.1, 0.05, -0.05, 0.02], "equivalent"),
        ([0.11, 0.10, 0.12, 0.09, 0.10], "equivalent"),  # surely not zero, and surely within the margin
        ([2.1, 1.9, 2.2, 1.8, 2.0], "different"),
        ([0.9, 0.7, 0.8, 1.3, 0.9], "different"),  # not zero, and perhaps within the margin
        ([3.0, -2.0, 1.0, -4.0, 2.5], "inconclusive"),
    ],
)
def test_equivalence_has_three_verdicts(differences, verdict):
    assert of(differences, margin=1.0)["verdict"].item() == verdict


def test_equivalence_is_found_where_the_interval_lies_within_the_margin():
    a, b = arms(seeds=10, cells=(2, 500), spread=0.5)
    result = equivalence(a, b, margin=0.3)
    within = (result["low"] > -0.3) & (result["high"] < 0.3)
    np.testing.assert_array_equal(result["verdict"] == "equivalent", within)
    beside_zero = (result["p_difference"] <= 0.05) & ~within
    np.testing.assert_array_equal(result["verdict"] == "different", beside_zero)
    assert set(result["verdict"].values.ravel()) == {"equivalent", "different", "inconclusive"}


def test_equivalence_is_rarely_found_at_the_margin():
    a, b = arms(seeds=10, cells=(2, 1000), spread=0.5, difference=1.0)
    found = float((equivalence(a, b, margin=1.0)["verdict"] == "equivalent").mean())
    # the true difference is the margin: the level, and three standard errors of it among 2,000
    assert found == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 2000) ** 0.5)


def test_equivalence_does_not_depend_on_which_arm_is_first():
    a, b = arms()
    one, other = equivalence(a, b, margin=0.5), equivalence(b, a, margin=0.5)
    np.testing.assert_allclose(one["p_value"], other["p_value"], rtol=1e-12)
    np.testing.assert_allclose(one["low"], -other["high"], rtol=1e-12)
    np.testing.assert_array_equal(one["verdict"], other["verdict"])


@pytest.mark.parametrize(
    ("differences", "reason"),
    [
        ([0.3], "one pair alone has no t-test"),
        ([0.0] * 4, "all 4 differences are the same, and without spread there is no t-test"),
        ([], "there are no pairs"),
        ([0.1, np.nan, 0.2, 0.4], "1 of 4 pairs is NaN; skipna=True leaves it out"),
    ],
)
def test_equivalence_without_a_test_is_inconclusive(differences, reason):
    result = of(differences, margin=1.0)
    assert result["verdict"].item() == "inconclusive"
    assert np.isnan([float(result[name]) for name in ("low", "high", "p_value", "p_difference")]).all()
    assert result["reason"].item() == result.attrs["reason"] == reason


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equivalence_takes_differences_for_the_same_that_differ_by_rounding(dtype):
    b = xr.DataArray(np.array([0.81, 0.92, 0.55, 0.3], dtype=dtype), dims="seed")
    result = equivalence(b + np.array(0.1, dtype=dtype), b, margin=0.5)
    assert result["reason"].item() == "all 4 differences are the same, and without spread there is no t-test"
    assert float(result["estimate"]) == pytest.approx(0.1, rel=1e-6)


def test_equivalence_leaves_pairs_with_nan_out_when_asked():
    differences = [0.1, np.nan, -0.2, 0.05, 0.15]
    lenient, without = of(differences, margin=0.3, skipna=True), of([0.1, -0.2, 0.05, 0.15], margin=0.3)
    assert float(lenient["p_value"]) == float(without["p_value"])
    assert int(lenient["n"]) == 4
    assert lenient["reason"].item() == "1 of 5 pairs is NaN and left out"


def test_equivalence_has_no_margin_of_its_own():
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'margin'"):
        equivalence(*arms())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"margin": 0},
            "`equivalence`: expected `margin` as a finite number above 0, but got 0. "
            "Declare `margin` in the unit of the values, before looking at them.",
        ),
        (
            {"margin": 0.1, "level": 0.5},
            "`equivalence`: expected `level` between 0 and 0.5, but got 0.5. A usual one is level=0.05.",
        ),
    ],
)
def test_equivalence_refuses_a_wrong_setting(settings, message):
    with pytest.raises(StatisticsError) as raised:
        equivalence(*arms(), **settings)
    assert str(raised.value) == message
