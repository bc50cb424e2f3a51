import numpy as np
import pytest

import clsight
import reference
from clsight import RecordError
from clsight.analysis import effective_tokens, entropy
from hand_made import patch_record, word_record

# Records hold float32: a relative rounding of 6e-8 per weight, times at most 9 weights and their logarithms.
FLOAT32 = 2e-6


@pytest.mark.parametrize("make", [patch_record, word_record])
def test_entropy_of_the_row_matches_dense_attention(make):
    made = make()
    result = entropy(made.record)
    assert result.dims == ("sample", "layer", "head")
    np.testing.assert_allclose(result, reference.entropy_of_row(made.dense, made.mask), atol=FLOAT32)


@pytest.mark.parametrize("make", [patch_record, word_record])
def test_entropy_of_the_column_matches_dense_attention(make):
    made = make()
    expected = reference.entropy_of_column(made.dense, made.mask)
    np.testing.assert_allclose(entropy(made.record, direction="attended_by"), expected, atol=FLOAT32)


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_entropy_normalized_divides_by_the_log_of_the_real_tokens(direction):
    record = word_record().record
    expected = entropy(record, direction=direction) / np.log([7, 8])[:, None, None]
    np.testing.assert_allclose(entropy(record, direction=direction, normalized=True), expected, rtol=1e-12)


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_entropy_of_uniform_weights_is_the_log_of_their_number(direction):
    record = word_record().record
    uniform = (record[direction] * 0 + 1 / record["token_mask"].sum("token")).where(record["token_mask"], 0)
    record = record.assign({direction: uniform.transpose(*record[direction].dims)})
    np.testing.assert_allclose(entropy(record, direction=direction).isel(layer=1, head=2), np.log([7, 8]))
    np.testing.assert_allclose(entropy(record, direction=direction, normalized=True), 1.0)
    np.testing.assert_allclose(effective_tokens(record, direction=direction).isel(layer=0, head=3), [7, 8])


def test_entropy_of_one_token_is_zero_and_has_no_normalized_value():
    record = patch_record().record.isel(token=[0])
    record["attends_to"][...] = 1.0
    assert (entropy(record) == 0).all()
    assert entropy(record, normalized=True).isnull().all()
    assert entropy(record, normalized=True).attrs["undefined"] == "NaN where one token alone counts"


def test_entropy_counts_a_zero_weight_as_nothing():
    record = patch_record().record.copy(deep=True)
    record["attends_to"].values[0, 1, 2] = [0.5, 0, 0, 0.5, 0, 0, 0]
    assert entropy(record).values[0, 1, 2] == pytest.approx(np.log(2))


def test_entropy_passes_on_a_nan_weight():
    record = patch_record().record.copy(deep=True)
    record["attends_to"].values[1, 2, 3, 4] = np.nan
    assert np.argwhere(entropy(record).isnull().values).tolist() == [[1, 2, 3]]


def test_entropy_of_a_column_of_zeros_is_nan():
    record = patch_record().record.copy(deep=True)
    record["attended_by"].values[1, 2, 3] = 0
    result = entropy(record, direction="attended_by")
    assert np.argwhere(result.isnull().values).tolist() == [[1, 2, 3]]
    assert result.attrs["undefined"] == "NaN where a column sums to 0"
    normalized = entropy(record, direction="attended_by", normalized=True)
    assert normalized.attrs["undefined"] == "NaN where one token alone counts or a column sums to 0"


@pytest.mark.parametrize("normalized", [False, True])
def test_entropy_of_the_column_leaves_out_a_token_without_query(normalized):
    record = patch_record().record.copy(deep=True)
    record["attended_by"].values[...] = [0.5, 0.5, np.nan, 0.5, 0.5, np.nan, np.nan]
    result = entropy(record, direction="attended_by", normalized=normalized)
    np.testing.assert_allclose(result, 1.0 if normalized else np.log(4))


def test_effective_tokens_is_the_exponential_of_the_entropy():
    made = word_record()
    expected = np.exp(reference.entropy_of_row(made.dense, made.mask))
    np.testing.assert_allclose(effective_tokens(made.record), expected, rtol=FLOAT32)
    assert effective_tokens(made.record).attrs["units"] == "tokens"


def test_entropy_of_a_stack_equals_that_of_each_member():
    members = {"learned": word_record(seed=1).record, "zeros": word_record(seed=2).record}
    stacked = entropy(clsight.stack(members))
    for name, record in members.items():
        np.testing.assert_array_equal(stacked.sel(strategy=name), entropy(record))


def test_entropy_follows_a_permutation_of_the_heads():
    record = word_record().record
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(entropy(record.isel(head=order)), entropy(record).isel(head=order))


def test_entropy_names_the_nearest_direction():
    with pytest.raises(RecordError) as raised:
        entropy(word_record().record, direction="attends_two")
    assert str(raised.value) == (
        "`entropy`: expected a known `direction`, but got 'attends_two'. "
        "Did you mean `attends_to`? Options: attended_by, attends_to."
    )


def test_entropy_says_what_to_ask_for_when_the_weights_are_missing():
    with pytest.raises(RecordError, match="`entropy`: expected a record with `attended_by`, but got"):
        entropy(word_record().record.drop_vars("attended_by"), direction="attended_by")


def test_entropy_refuses_a_record_without_token_dimension():
    with pytest.raises(RecordError, match="expected a record with a `token` dimension"):
        entropy(word_record().record.isel(token=2))
