import numpy as np
import pytest
import xarray as xr

from clsight import StatisticsError
from clsight.statistics import spread_of_pairs


def of(differences, **settings):
    a = xr.DataArray(np.asarray(differences, dtype=float), dims="seed")
    return spread_of_pairs(a, xr.zeros_like(a), **settings)


def test_spread_of_pairs_of_a_case_by_hand():
    # differences 1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9 = 14; 0.2 quantile of χ² with 3 degrees: 1.005
    result = of([1, 2, 3, 6])
    assert float(result["estimate"]) == pytest.approx((14 / 3) ** 0.5, rel=1e-12)
    assert float(result["high"]) == pytest.approx((14 / 1.00517) ** 0.5, rel=1e-5)
    assert int(result["n"]) == 4


def test_spread_of_pairs_is_below_its_limit_as_often_as_it_says():
    a, b = np.random.default_rng(0).normal(size=(2, 4000, 4))
    a, b = (xr.DataArray(x, dims=("study", "seed")) for x in (a, b))
    below = float((spread_of_pairs(a, b, confidence=0.9)["high"] >= 2**0.5).mean())
    assert below == pytest.approx(0.9, abs=3 * (0.09 / 4000) ** 0.5)  # three standard errors


@pytest.mark.parametrize(
    ("differences", "settings", "reason"),
    [
        ([1.0], {}, "one pair alone has no spread"),
        ([2.0, 2.0, 2.0], {}, "all 3 differences are the same"),
        ([1.0, np.nan, 3.0], {}, "1 of 3 pairs is NaN; skipna=True leaves it out"),
        ([], {}, "there are no pairs"),
        (
            [1.0, np.nan, np.nan],
            {"skipna": True},
            "2 of 3 pairs are NaN and left out; one pair alone has no spread",
        ),
    ],
)
def test_spread_of_pairs_says_why_there_is_none(differences, settings, reason):
    result = of(differences, **settings)
    assert np.isnan([float(result["estimate"]), float(result["high"])]).all()
    assert result["reason"].item() == reason


def test_spread_of_pairs_refuses_a_wrong_confidence():
    with pytest.raises(StatisticsError) as raised:
        of([1, 2], confidence=True)
    assert str(raised.value) == (
        "`spread_of_pairs`: expected `confidence` between 0 and 1, but got True. "
        "A usual one is confidence=0.95."
    )
