"""The six numbers of a curve against loops, on curves that are made up and on a known one."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import clsight
import reference_faithfulness as by_hand
from clsight import faithfulness

NAMES = (
    "comprehensiveness",
    "sufficiency",
    "aopc_comprehensiveness",
    "aopc_sufficiency",
    "deletion_area",
    "insertion_area",
)


def curves_of(deletion, insertion, removed, reasons=None):
    samples, points = np.shape(deletion)
    names = {"deletion": deletion, "insertion": insertion, "removed": removed}
    return xr.Dataset(
        {name: (("sample", "fraction"), np.asarray(values, float)) for name, values in names.items()},
        coords={
            "fraction": np.arange(points) / (points - 1),
            "sample": np.arange(samples),
            "target": ("sample", np.arange(samples) % 2),
            "reason": ("sample", np.array(reasons or [""] * samples, dtype=np.dtypes.StringDType())),
        },
    )


@given(data=st.data(), steps=st.sampled_from([5, 10]), tokens=st.integers(2, 23))
def test_scores_are_those_of_loops(data, steps, tokens):
    number = st.floats(0, 1)
    deletion, insertion = (data.draw(st.lists(number, min_size=steps, max_size=steps)) for _ in range(2))
    deletion, insertion = [*deletion, insertion[0]], [*insertion, deletion[0]]
    shares = [by_hand.count_at(step, steps, tokens) / tokens for step in range(steps + 1)]
    curves = curves_of([deletion], [insertion], [shares])
    expected = by_hand.scores_of_curves(deletion, insertion, shares, fraction=steps // 5)
    for name in NAMES:
        score = getattr(faithfulness, name)(curves)
        np.testing.assert_allclose(score, [expected[name]], rtol=1e-12, atol=1e-14)
        assert score.dims == ("sample",)
        assert score.name == name
        assert score.attrs["units"] == "probability"


def test_scores_of_a_known_curve():
    shares = [0, 0.2, 0.4, 0.6, 0.8, 1]  # 5 tokens, of which the second in the ranking is the evidence
    curves = curves_of([[1, 1, 0, 0, 0, 0]], [[0, 0, 1, 1, 1, 1]], [shares])
    scores = {name: float(getattr(faithfulness, name)(curves)[0]) for name in NAMES}
    assert scores == pytest.approx(
        {
            "comprehensiveness": 0.0,
            "sufficiency": 1.0,
            "aopc_comprehensiveness": 0.8,
            "aopc_sufficiency": 0.2,
            "deletion_area": 0.3,
            "insertion_area": 0.7,
        },
        abs=1e-12,
    )


def test_a_fraction_may_be_chosen():
    curves = curves_of([[0.9, 0.5, 0.4]], [[0.1, 0.3, 0.9]], [[0, 0.5, 1]])
    score = faithfulness.comprehensiveness(curves, fraction=0.5)
    np.testing.assert_allclose(score, [0.4], rtol=1e-15)
    np.testing.assert_allclose(faithfulness.sufficiency(curves, fraction=1.0), [0.0], atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_where_curves_are_nan_a_score_is_nan_with_the_reason(name):
    nothing = [np.nan] * 6
    whole = [0.9, 0.5, 0.3, 0.2, 0.2, 0.1]
    curves = curves_of(
        [whole, nothing], [whole[::-1], nothing], [[0, 0.2, 0.4, 0.6, 0.8, 1], nothing], ["", "why"]
    )
    score = getattr(faithfulness, name)(curves)
    assert np.isnan(score).values.tolist() == [False, True]
    assert score.reason.values.tolist() == ["", "why"]
    assert score.target.values.tolist() == [0, 1]


@pytest.mark.parametrize("fraction", [0.3, 0])
def test_a_fraction_that_the_curves_lack_is_refused(fraction):
    curves = curves_of([[1, 0, 0, 0]], [[0, 0, 1, 1]], [[0, 1 / 3, 2 / 3, 1]])
    with pytest.raises(clsight.RecordError) as refusal:
        faithfulness.sufficiency(curves, fraction=fraction)
    assert str(refusal.value) == (
        "`sufficiency`: expected `fraction` among those of the curves: 0.333333, 0.666667, 1, but got "
        f"{fraction}. Choose one of them, or compute curves of more steps=."
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_curve_is_refused(name):
    with pytest.raises(clsight.RecordError) as refusal:
        getattr(faithfulness, name)(xr.DataArray([1.0]))
    assert str(refusal.value) == (
        f"`{name}`: expected the curves that clsight.faithfulness.removal_curves returned, but got an object "
        "of type DataArray. Compute them from a model, its inputs and an attribution first."
    )
