import numpy as np
import pytest

import reference
from clsight import RecordError
from clsight.analysis import mean_attended_by, mean_attends_to
from hand_made import patch_record, word_record


@pytest.mark.parametrize("make", [patch_record, word_record])
def test_mean_attends_to_matches_dense_attention(make):
    made = make()
    result = mean_attends_to(made.record)
    assert result.dims == ("sample", "layer", "token")
    np.testing.assert_allclose(result, reference.mean_row_over_heads(made.dense, made.mask), atol=1e-7)


@pytest.mark.parametrize("include_cls", [False, True])
@pytest.mark.parametrize("make", [patch_record, word_record])
def test_mean_attended_by_matches_dense_attention(make, include_cls):
    made = make()
    result = mean_attended_by(made.record, include_cls=include_cls)
    expected = reference.mean_column_over_tokens(made.dense, made.mask, include_cls=include_cls)
    assert result.dims == ("sample", "layer", "head")
    np.testing.assert_allclose(result, expected, atol=1e-7)


def test_mean_attends_to_over_samples_counts_only_real_tokens():
    record = word_record(samples=3).record
    result = mean_attends_to(record, over="sample").isel(layer=2, head=1)
    rows = record["attends_to"].isel(layer=2, head=1).values
    np.testing.assert_allclose(result[:7], rows[:, :7].mean(axis=0), rtol=1e-6)
    assert result[7] == pytest.approx((rows[1, 7] + rows[2, 7]) / 2)
    assert result[8] == pytest.approx(rows[2, 8])


def test_mean_attends_to_over_heads_still_sums_to_one():
    # float32 weights: each row sums to 1 within 9 roundings of 6e-8
    np.testing.assert_allclose(mean_attends_to(word_record().record).sum("token"), 1.0, atol=6e-7)


def test_mean_attended_by_over_heads_leaves_out_padding_and_cls():
    result = mean_attended_by(word_record().record, over="head").isel(sample=0, layer=0)
    assert result.isnull().values.tolist() == [True] + [False] * 6 + [True] * 2


def test_means_ignore_what_padding_holds():
    record = word_record().record.copy(deep=True)
    before = mean_attended_by(record), mean_attends_to(record)
    record["attends_to"].values[0, ..., 7:] = 5.0
    record["attended_by"].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(mean_attended_by(record), before[0])
    np.testing.assert_array_equal(mean_attends_to(record), before[1])


def test_mean_over_a_head_already_selected_is_that_head():
    record = word_record().record
    one = mean_attends_to(record.sel(head=3))
    np.testing.assert_array_equal(one, mean_attends_to(record.sel(head=[3])))


@pytest.mark.parametrize("function", [mean_attends_to, mean_attended_by])
def test_means_name_an_unknown_dim(function):
    with pytest.raises(RecordError, match=r"`over` among the dims .*but got 'heads'. Did you mean `head`"):
        function(word_record().record, over=["sample", "heads"])
