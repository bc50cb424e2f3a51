import numpy as np
import pytest

import reference_states
from clsight.analysis import contribution, norm_weighted
from hand_made import patch_record
from kept_records import kept_record

NORMALIZED = pytest.mark.parametrize("normalized", [False, True])


@NORMALIZED
def test_norm_weighted_matches_dense_attention(normalized):
    made = kept_record()
    result = norm_weighted(made.record, normalized=normalized)
    expected = reference_states.weighted_norms(
        made.dense, made.record["value_norm"].values, made.mask, normalized=normalized
    )
    assert result.dims == ("sample", "layer", "head", "token")
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_norm_weighted_is_the_norm_of_what_was_added_by_hand():
    record = patch_record().record
    record["attends_to"].values[0, 1, 2] = [0.5, 0.25, 0.25, 0, 0, 0, 0]
    record["value_norm"].values[0, 1, 2] = [0.0, 2.0, 6.0, 9.0, 9.0, 9.0, 9.0]
    assert norm_weighted(record).values[0, 1, 2].tolist() == [0, 0.5, 1.5, 0, 0, 0, 0]
    assert norm_weighted(record, normalized=True).values[0, 1, 2].tolist() == [0, 0.25, 0.75, 0, 0, 0, 0]


def test_norm_weighted_of_equal_norms_is_the_row():
    record = kept_record().record
    record["value_norm"].values[...] = 3.0
    expected = record["attends_to"].where(record["token_mask"])
    np.testing.assert_allclose(norm_weighted(record, normalized=True), expected, atol=1e-12)


def test_norm_weighted_of_values_of_zero_has_no_shares_and_says_why():
    record = kept_record().record
    record["value_norm"].values[1, 2, 3] = 0
    result = norm_weighted(record, normalized=True)
    assert np.argwhere(result.isnull().all("token").values).tolist() == [[1, 2, 3]]
    assert result.attrs["undefined"] == "NaN where all norms are 0"
    assert (norm_weighted(record)[1, 2, 3, :8] == 0).all()


@NORMALIZED
@pytest.mark.parametrize(
    ("function", "variable"), [(norm_weighted, "value_norm"), (contribution, "contribution_norm")]
)
def test_norms_ignore_what_padding_holds(function, variable, normalized):
    record = kept_record().record
    before = function(record, normalized=normalized)
    assert before.isel(sample=0, token=slice(7, None)).isnull().all()
    for held in (5.0, np.nan):
        record[variable].values[0, ..., 7:] = held
        np.testing.assert_array_equal(function(record, normalized=normalized), before)


@pytest.mark.parametrize(
    ("function", "variable"), [(norm_weighted, "value_norm"), (contribution, "contribution_norm")]
)
def test_shares_of_norms_are_nan_where_one_norm_is(function, variable):
    record = kept_record().record
    record[variable].values[1, ..., 4] = np.nan
    result = function(record, normalized=True)
    assert result.isel(sample=1).isnull().all()
    assert function(record).isel(sample=1).isnull().any("token").all()


def test_norm_weighted_follows_a_permutation_of_the_heads():
    record = kept_record().record
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(
        norm_weighted(record.isel(head=order)), norm_weighted(record).isel(head=order)
    )


def test_contribution_is_what_the_capture_found():
    made = kept_record()
    found = made.record["contribution_norm"].values
    result = contribution(made.record)
    assert result.dims == ("sample", "layer", "token")
    np.testing.assert_array_equal(result, np.where(made.mask[:, None], found, np.nan))
    shares = contribution(made.record, normalized=True)
    np.testing.assert_allclose(shares, reference_states.shares_of_real(found, made.mask), atol=1e-10)


def test_norms_say_whether_they_are_shares():
    record = kept_record().record
    assert norm_weighted(record).attrs == {"long_name": "what each token brings", "units": "norm"}
    assert contribution(record, normalized=True).attrs == {
        "long_name": "share of what each token brings",
        "units": "",
        "undefined": "NaN where all norms are 0",
    }
