import numpy as np
import pytest

import reference_measures
from clsight import RecordError
from clsight.analysis import attends_to_vs_attended_by
from hand_made import patch_record
from kept_records import kept_record, with_class_attention


def with_weights(on_others, from_others):
    """Return a record of 7 tokens in which CLS puts one weight on others, and each of them another on CLS."""
    record = patch_record().record.copy(deep=True)
    record["attends_to"] = record["attends_to"].astype(float) * 0 + on_others / 6
    record["attends_to"].values[..., 0] = 1 - on_others
    record["attended_by"] = record["attended_by"].astype(float) * 0 + from_others
    record["attended_by"].values[..., 0] = 1 - on_others
    return record


def test_attends_to_vs_attended_by_matches_dense_attention():
    made = kept_record()
    result = attends_to_vs_attended_by(made.record)
    assert result.dims == ("sample", "layer", "head")
    np.testing.assert_allclose(result, reference_measures.role(made.dense, made.mask), atol=1e-10)


@pytest.mark.parametrize(
    ("on_others", "from_others", "expected"),
    [
        (6 / 7, 1 / 7, 0.0),  # uniform
        (1.0, 0.0, -1.0),  # reads, is not read
        (0.0, 0.5, 1.0),  # is read, does not read
        (6 / 7, 3 / 7, 0.5),  # read three times as much: (3 − 1)/(3 + 1)
        (3 / 7, 1 / 7, 1 / 3),  # reads half as much: (1 − ½)/(1 + ½)
    ],
)
def test_attends_to_vs_attended_by_of_weights_known_by_hand(on_others, from_others, expected):
    result = attends_to_vs_attended_by(with_weights(on_others, from_others))
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_attends_to_vs_attended_by_is_nan_where_neither_happens():
    result = attends_to_vs_attended_by(with_weights(0.0, 0.0))
    assert result.isnull().all()
    assert result.attrs["undefined"] == (
        "NaN where CLS has no other token or no column, or sees itself alone and is seen by nobody else"
    )


def test_attends_to_vs_attended_by_of_one_token_is_nan():
    record = patch_record().record.isel(token=[0])
    record["attends_to"][...] = 1.0
    assert attends_to_vs_attended_by(record).isnull().all()


def test_attends_to_vs_attended_by_under_class_attention_is_nan():
    record = with_class_attention(kept_record().record, [1, 3])
    result = attends_to_vs_attended_by(record)
    assert result.isnull().all(["sample", "head"]).values.tolist() == [False, True, False, True, False]
    assert result.isel(layer=[0, 2, 4]).notnull().all()


def test_attends_to_vs_attended_by_ignores_what_padding_holds():
    record = kept_record().record
    before = attends_to_vs_attended_by(record)
    record["attends_to"].values[0, ..., 7:] = 5.0
    record["attended_by"].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(attends_to_vs_attended_by(record), before)


def test_attends_to_vs_attended_by_passes_on_a_nan_weight_of_the_row():
    record = kept_record().record
    record["attends_to"].values[1, 2, 3, 4] = np.nan
    assert np.argwhere(attends_to_vs_attended_by(record).isnull().values).tolist() == [[1, 2, 3]]


def test_attends_to_vs_attended_by_follows_heads_and_cls():
    record = kept_record().record
    order = [2, 0, 3, 1]
    expected = attends_to_vs_attended_by(record)
    np.testing.assert_array_equal(
        attends_to_vs_attended_by(record.isel(head=order)), expected.isel(head=order)
    )
    moved = record.roll(token=-1, roll_coords=False).assign_attrs(cls_index=8)
    np.testing.assert_allclose(attends_to_vs_attended_by(moved), expected, atol=1e-12)


def test_attends_to_vs_attended_by_refuses_a_record_that_lost_cls():
    with pytest.raises(RecordError, match=r"a record that holds .CLS.: attributes"):
        attends_to_vs_attended_by(kept_record().record.isel(token=slice(1, None)))
