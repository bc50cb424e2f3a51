import numpy as np
import pytest

import reference_measures
from clsight.analysis import head_max
from hand_made import patch_record
from kept_records import kept_record


def test_head_max_matches_dense_attention():
    made = kept_record()
    result = head_max(made.record)
    assert result.dims == ("sample", "layer", "token")
    expected = reference_measures.largest_over_heads(made.dense, made.mask)
    np.testing.assert_allclose(result, expected, atol=1e-10)
    np.testing.assert_allclose(result.sum("token"), 1.0, atol=1e-12)


def test_head_max_of_heads_that_look_at_one_token_each_is_shared_among_them():
    record = patch_record().record
    record["attends_to"].values[...] = np.eye(4, 7)
    np.testing.assert_array_equal(head_max(record).values[0, 0], [0.25, 0.25, 0.25, 0.25, 0, 0, 0])


def test_head_max_of_equal_heads_is_any_of_them():
    record = kept_record().record
    equal = record.isel(head=[1, 1, 1])
    expected = record["attends_to"].isel(head=1).where(record["token_mask"])
    np.testing.assert_allclose(head_max(equal), expected, atol=1e-12)
    np.testing.assert_allclose(head_max(record.isel(head=1)), expected, atol=1e-12)


def test_head_max_does_not_depend_on_the_order_of_heads():
    record = kept_record().record
    np.testing.assert_array_equal(head_max(record.isel(head=[2, 0, 3, 1])), head_max(record))


def test_head_max_says_over_how_many_heads():
    result = head_max(kept_record().record)
    assert result.attrs["heads"] == 4
    assert result.attrs["long_name"] == "largest weight of 4 heads, renormalized"
    assert head_max(kept_record().record.isel(head=2)).attrs["heads"] == 1


def test_head_max_ignores_what_padding_holds():
    record = kept_record().record
    before = head_max(record)
    record["attends_to"].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(head_max(record), before)
    assert before.isel(sample=0, layer=0).isnull().values.tolist() == [False] * 7 + [True] * 2


def test_head_max_passes_on_a_nan_weight():
    record = patch_record().record
    record["attends_to"].values[1, 2, 3, 4] = np.nan
    assert np.argwhere(head_max(record).isnull().all("token").values).tolist() == [[1, 2]]
    assert head_max(record).isnull().sum() == 7


@pytest.mark.parametrize("weight", [0.0, np.nan])
def test_head_max_of_rows_without_weight_is_nan_and_says_why(weight):
    record = patch_record().record
    record["attends_to"].values[1, 2] = weight
    result = head_max(record)
    assert np.argwhere(result.isnull().all("token").values).tolist() == [[1, 2]]
    assert result.attrs["undefined"] == "NaN where no head may see a token"
