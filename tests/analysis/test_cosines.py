import numpy as np
import pytest

import clsight
import reference_states
from clsight import RecordError
from clsight.analysis import similarity
from kept_records import kept_record


def test_similarity_of_depths_matches_loops():
    record = kept_record().record
    result = similarity(record)
    hidden = record["hidden"].values
    assert result.dims == ("sample", "depth", "other_depth")
    np.testing.assert_allclose(result, reference_states.cosines(hidden, hidden), atol=1e-10)
    np.testing.assert_allclose(np.diagonal(result, axis1=1, axis2=2), 1.0, atol=1e-12)


def test_similarity_to_another_record_matches_loops():
    a, b = kept_record().record, kept_record(seed=4).record.isel(depth=[0, 3, 5, 1])
    result = similarity(a, to=b)
    expected = reference_states.cosines(a["hidden"].values, b["hidden"].values)
    assert dict(result.sizes) == {"sample": 3, "depth": 6, "other_depth": 4}
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_similarity_of_directions_known_by_hand():
    record = kept_record().record
    record["hidden"].values[0, :4] = np.array([[2, 0], [3, 3], [0, 5], [-1, 0]]) @ np.eye(2, 7)
    result = similarity(record).values[0, 0, :4]
    np.testing.assert_allclose(result, [1, 0.5**0.5, 0, -1], atol=1e-15)


def test_similarity_does_not_depend_on_scale_and_turns_with_sign():
    record = kept_record().record
    grown = record.assign(hidden=record["hidden"] * -1000.0)
    np.testing.assert_allclose(similarity(record, to=grown), -similarity(record), atol=1e-12)


def test_similarity_to_a_start_of_zeros_is_nan_and_says_why():
    record = kept_record().record
    record["hidden"].values[:, 0] = 0
    result = similarity(record)
    assert result.isel(depth=0).isnull().all()
    assert result.isel(other_depth=0).isnull().all()
    assert result[:, 1:, 1:].notnull().all()
    assert result.attrs["undefined"] == "NaN where a state of CLS is all zeros"


def test_similarity_of_strategies_takes_each_member():
    members = {name: kept_record(seed=seed).record for seed, name in ((3, "learned"), (4, "zeros"))}
    stacked = clsight.stack(members)
    within, to_learned = similarity(stacked), similarity(stacked, to=members["learned"])
    assert within.dims == to_learned.dims == ("strategy", "sample", "depth", "other_depth")
    for name, record in members.items():
        np.testing.assert_array_equal(within.sel(strategy=name), similarity(record))
        np.testing.assert_array_equal(
            to_learned.sel(strategy=name), similarity(record, to=members["learned"])
        )


def test_similarity_of_one_depth_each_is_a_number_per_sample():
    a, b = kept_record().record, kept_record(seed=4).record
    result = similarity(a.isel(depth=2), to=b.isel(depth=5))
    assert result.dims == ("sample",)
    np.testing.assert_allclose(result, similarity(a, to=b)[:, 2, 5], atol=1e-15)


def test_similarity_goes_by_the_inputs_and_not_by_the_numbers_of_samples():
    a, b = kept_record().record, kept_record(seed=4).record
    renumbered = b.isel(sample=[1, 2]).assign_coords(sample=[0, 1])
    np.testing.assert_array_equal(similarity(a.isel(sample=[1, 2]), to=renumbered), similarity(a, to=b)[1:])


def test_similarity_refuses_other_inputs_and_other_widths():
    record = kept_record().record
    with pytest.raises(RecordError, match=r"`similarity`: expected records of the same inputs, with equal"):
        similarity(record, to=record.assign_attrs(cls_index=2))
    with pytest.raises(RecordError) as raised:
        similarity(record, to=record.isel(channel=slice(0, 5)))
    assert str(raised.value) == (
        "`similarity`: expected two records with the same number of channels, but got 7 and 5. "
        "Models of different widths: clsight.analysis.cka(record, to=other)."
    )


def test_similarity_needs_hidden_states_of_all_channels_in_both():
    record = kept_record().record
    with pytest.raises(RecordError, match=r"a record with `hidden`, .*keep='hidden'"):
        similarity(record, to=record.drop_vars("hidden"))
    with pytest.raises(RecordError, match=r"`similarity`: expected a record with a `channel` dimension"):
        similarity(record.isel(channel=0))
