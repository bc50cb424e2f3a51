import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import reference_statistics as reference
from clsight import StatisticsError
from clsight.statistics import benjamini_hochberg, holm

RULES = [(holm, reference.holm), (benjamini_hochberg, reference.benjamini_hochberg)]
P_VALUES = arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1))


def labeled(p_values):
    return xr.DataArray(np.asarray(p_values, dtype=float), dims="test")


@pytest.mark.parametrize(("rule", "slow"), RULES)
@given(p_values=P_VALUES)
def test_adjusted_p_values_match_loops(rule, slow, p_values):
    np.testing.assert_allclose(rule(labeled(p_values)), slow(p_values.tolist()), rtol=1e-12)


@given(P_VALUES)
def test_adjusted_p_values_are_bounded_and_keep_their_order(p_values):
    raw = np.sort(p_values)
    by_holm, by_share = holm(labeled(raw)).values, benjamini_hochberg(labeled(raw)).values
    bonferroni = np.minimum(raw * len(raw), 1)
    slack = 1 + 1e-12  # a product and a quotient are each rounded once
    assert (raw <= by_share * slack).all()
    assert (by_share <= by_holm * slack).all()
    assert (by_holm <= bonferroni * slack).all()
    assert (np.diff(by_holm) >= 0).all()
    assert (np.diff(by_share) >= 0).all()


def test_benjamini_hochberg_of_the_papers_example():
    # Benjamini and Hochberg 1995, section 3.2: of 15 p-values theirs finds 4 at 0.05, Bonferroni's 3
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    assert int((benjamini_hochberg(labeled(p)) <= 0.05).sum()) == 4
    assert int((holm(labeled(p)) <= 0.05).sum()) == 3  # as Bonferroni's here


def test_holm_of_a_case_by_hand():
    np.testing.assert_allclose(holm(labeled([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(("rule", "slow"), RULES)
def test_adjusted_p_values_leave_nan_as_it_is_and_do_not_count_it(rule, slow):
    p = np.random.default_rng(0).random((2, 3, 4)) ** 3
    p[1, 2, 3] = p[0, 0, 0] = np.nan
    result = rule(xr.DataArray(p, dims=("layer", "head", "measure"), coords={"layer": [5, 6]}))
    assert result.dims == ("layer", "head", "measure")
    assert result["layer"].values.tolist() == [5, 6]
    there = ~np.isnan(p)
    np.testing.assert_allclose(result.values[there], slow(p[there].tolist()), rtol=1e-12)
    assert np.isnan(result.values[~there]).all()
    assert result.attrs["n"] == 22
    assert result.attrs["reason"] == "2 of 24 p-values are NaN and not counted"


@pytest.mark.parametrize(("rule", "slow"), RULES)
def test_adjusted_p_values_of_several_families(rule, slow):
    p = xr.DataArray(np.random.default_rng(1).random((2, 3, 4)) ** 3, dims=("layer", "arm", "head"))
    result = rule(p, over=("layer", "head"))
    assert result.dims == p.dims
    for arm in range(3):
        expected = np.reshape(slow(p.values[:, arm].ravel().tolist()), (2, 4))
        np.testing.assert_allclose(result.values[:, arm], expected, rtol=1e-12)
    assert result.attrs["over"] == ["layer", "head"]
    assert result.attrs["n"] == 8


@pytest.mark.parametrize(("rule", "_"), RULES)
def test_adjusted_p_value_of_one_test_is_itself(rule, _):
    assert float(rule(xr.DataArray(0.03))) == 0.03
    assert rule(xr.DataArray(0.03)).attrs["n"] == 1


@pytest.mark.parametrize(("rule", "_"), RULES)
def test_adjusted_p_values_of_nothing_but_nan(rule, _):
    result = rule(labeled([np.nan, np.nan]))
    assert result.isnull().all()
    assert result.attrs["n"] == 0


@pytest.mark.parametrize("rule", [holm, benjamini_hochberg])
def test_adjusted_p_values_refuse_what_is_no_p_value(rule):
    with pytest.raises(StatisticsError) as raised:
        rule(labeled([0.1, 1.2, -0.1, np.nan]))
    assert str(raised.value) == (
        f"`{rule.__name__}`: expected p-values from 0 to 1, but got 2 of 4 outside. "
        "Give the variable `p_value` of a result."
    )
