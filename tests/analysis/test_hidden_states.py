import numpy as np
import pytest

import reference_states
from clsight import RecordError
from clsight.analysis import hidden_norm, largest_activation, massive_activations
from kept_records import kept_record

ALL = pytest.mark.parametrize("function", [massive_activations, largest_activation, hidden_norm])


def record_of(states):
    """Return a record whose CLS has these channels in sample 0 at depth 0, and 7 ones elsewhere."""
    record = kept_record().record
    record["hidden"].values[...] = 1.0
    record["hidden"].values[0, 0] = states
    return record


def test_massive_activations_match_loops():
    record = kept_record().record
    result = massive_activations(record, threshold=1.0, ratio=2.0)
    expected = reference_states.massive(record["hidden"].values, 1.0, 2.0)
    assert result.dims == ("sample", "depth", "channel")
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([100.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], [1, 0, 0, 0, 0, 0, 0]),
        ([0.1, 0.1, -200, 0.1, 0.2, 150, 0.1], [0, 0, 1, 0, 0, 1, 0]),  # median 0.1, sign does not matter
        ([100, 0, 0, 0, 0, 0, 0], [0] * 7),  # not above the threshold
        ([500, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0, 0, 0, 0]),  # exactly 1000 times
        ([499, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0] * 7),
        ([0] * 7, [0] * 7),
    ],
)
def test_massive_activations_are_above_both_thresholds(states, expected):
    result = massive_activations(record_of(states))
    assert result.values[0, 0].tolist() == expected
    assert result.sum() == sum(expected)


def test_massive_activations_say_their_thresholds():
    attrs = massive_activations(kept_record().record, threshold=50, ratio=300).attrs
    assert attrs["threshold"] == 50
    assert attrs["ratio"] == 300
    assert attrs["long_name"] == "massive: above 50 and 300 × the median"


@pytest.mark.parametrize(("name", "value"), [("threshold", 0), ("ratio", -1), ("ratio", float("nan"))])
def test_massive_activations_refuse_what_is_no_threshold(name, value):
    with pytest.raises(RecordError) as raised:
        massive_activations(kept_record().record, **{name: value})
    assert str(raised.value) == (
        f"`massive_activations`: expected a positive `{name}`, but got {value!r}. "
        "Sun et al. use threshold=100 and ratio=1000."
    )


def test_largest_activation_matches_loops():
    record = kept_record().record
    result = largest_activation(record)
    assert result.dims == ("sample", "depth")
    expected = reference_states.largest_over_median(record["hidden"].values)
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_largest_activation_of_a_vector_of_zeros_is_nan_and_says_why():
    result = largest_activation(record_of([0] * 7))
    assert np.argwhere(result.isnull().values).tolist() == [[0, 0]]
    assert (result.isel(depth=slice(1, None)) == 1).all()
    assert result.attrs["undefined"] == "NaN where half of the channels or more are 0"
    assert largest_activation(record_of([3, 0, 0, 0, 0, 1, 2])).isnull().values[0, 0]


def test_largest_activation_does_not_depend_on_scale_or_order():
    record = kept_record().record
    changed = record.assign(hidden=record["hidden"].isel(channel=[3, 1, 0, 2, 6, 5, 4]) * -7.0)
    np.testing.assert_allclose(largest_activation(changed), largest_activation(record), rtol=1e-12)


def test_hidden_norm_matches_loops():
    record = kept_record().record
    result = hidden_norm(record)
    assert result.dims == ("sample", "depth")
    np.testing.assert_allclose(result, reference_states.norms(record["hidden"].values), rtol=1e-10)
    assert hidden_norm(record_of([3, 0, 0, 4, 0, 0, 0])).values[0, 0] == 5


def test_hidden_norm_of_half_precision_does_not_overflow():
    record = record_of([3e4] * 7)
    result = hidden_norm(record.assign(hidden=record["hidden"].astype(np.float16)))
    assert result.values[0, 0] == pytest.approx(3e4 * 7**0.5, rel=1e-3)


@ALL
def test_hidden_states_that_are_nan_stay_nan(function):
    result = function(record_of([1, 2, np.nan, 4, 5, 6, 7]))
    where = np.argwhere(result.isnull().values).tolist()
    assert where == ([[0, 0, 2]] if function is massive_activations else [[0, 0]])


@ALL
def test_hidden_states_are_asked_for_by_name(function):
    with pytest.raises(RecordError) as raised:
        function(kept_record().record.drop_vars("hidden").assign_attrs(absent={}))
    assert str(raised.value) == (
        f"`{function.__name__}`: expected a record with `hidden`, but got one without it. "
        "Capture again with keep='hidden'."
    )


@ALL
def test_hidden_states_need_all_channels(function):
    with pytest.raises(RecordError) as raised:
        function(kept_record().record.isel(channel=2))
    assert str(raised.value) == (
        f"`{function.__name__}`: expected a record with a `channel` dimension, but got dims (sample, depth). "
        "Select channels after this function, not before."
    )
