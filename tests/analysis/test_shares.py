import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import reference_measures
from clsight import RecordError
from clsight.analysis import mass_on, max_share
from hand_made import patch_record
from kept_records import kept_record, with_class_attention

BOTH = pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
SPECIAL = {"cls", "register", "distillation", "special"}


@BOTH
def test_max_share_matches_dense_attention(direction):
    made = kept_record()
    result = max_share(made.record, direction=direction)
    expected = reference_measures.largest_share(made.dense, made.mask, column=direction == "attended_by")
    assert result.dims == ("sample", "layer", "head")
    np.testing.assert_allclose(result, expected, atol=1e-10)


@BOTH
def test_max_share_ignores_what_padding_holds(direction):
    record = kept_record().record
    before = max_share(record, direction=direction)
    record[direction].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(max_share(record, direction=direction), before)


@BOTH
def test_max_share_of_uniform_weights_is_the_uniform_share(direction):
    record = kept_record().record
    uniform = (record[direction] * 0 + 1 / record["token_mask"].sum("token")).where(record["token_mask"], 0)
    record = record.assign({direction: uniform.transpose(*record[direction].dims)})
    result = max_share(record, direction=direction).isel(layer=4, head=1)
    np.testing.assert_allclose(result, [1 / 7, 1 / 8, 1 / 9], rtol=1e-12)


def test_max_share_of_a_row_known_by_hand():
    record = patch_record().record
    record["attends_to"].values[1, 2, 3] = [0.1, 0.2, 0.05, 0.4, 0.05, 0.1, 0.1]
    assert max_share(record).values[1, 2, 3] == pytest.approx(0.4, rel=1e-7)


@BOTH
def test_max_share_of_weights_that_are_all_zero_is_nan_and_says_why(direction):
    record = patch_record().record
    record[direction].values[1, 2, 3] = 0
    result = max_share(record, direction=direction)
    assert np.argwhere(result.isnull().values).tolist() == [[1, 2, 3]]
    assert result.attrs["undefined"] == "NaN where there is no attention to share"


def test_max_share_passes_on_a_nan_weight():
    record = patch_record().record
    record["attends_to"].values[1, 2, 3, 4] = np.nan
    assert np.argwhere(max_share(record).isnull().values).tolist() == [[1, 2, 3]]


def test_max_share_of_the_column_under_class_attention_is_that_of_cls_alone():
    record = with_class_attention(kept_record().record, [2, 4])
    result = max_share(record, direction="attended_by")
    assert (result.isel(layer=[2, 4]) == 1).all()
    assert (result.isel(layer=[0, 1, 3]) < 1).all()


@BOTH
@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        (None, SPECIAL),
        ("word", {"word"}),
        (["register", "special"], {"register", "special"}),
        (["cls", "word", "pad"], {"cls", "word"}),
    ],
)
def test_mass_on_kinds_matches_dense_attention(direction, kinds, chosen):
    made = kept_record()
    picked = np.vectorize(lambda kind: kind in chosen)(made.record["token_kind"].values.astype(object))
    expected = reference_measures.mass_of_tokens(
        made.dense, made.mask, picked, column=direction == "attended_by"
    )
    result = mass_on(made.record, kinds=kinds, direction=direction)
    assert result.dims == ("sample", "layer", "head")
    np.testing.assert_allclose(result, expected, atol=1e-10)


@BOTH
@given(st.data())
def test_mass_on_a_mask_and_on_its_complement_is_all_there_is(direction, data):
    made = kept_record()
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=27, max_size=27))).reshape(3, 9)
    expected = reference_measures.mass_of_tokens(
        made.dense, made.mask, chosen, column=direction == "attended_by"
    )
    one = mass_on(made.record, mask=chosen, direction=direction)
    np.testing.assert_allclose(one, expected, atol=1e-10)
    other = mass_on(made.record, mask=~chosen, direction=direction)
    np.testing.assert_allclose(one.fillna(0) + other.fillna(0), 1.0, atol=1e-12)


def test_mass_on_a_mask_takes_arrays_and_labels_alike():
    record = kept_record().record
    labeled = record["token_text"] == "the"
    expected = mass_on(record, mask=labeled)
    np.testing.assert_array_equal(mass_on(record, mask=labeled.values), expected)
    np.testing.assert_array_equal(mass_on(record, mask=labeled.values[0]), expected)
    np.testing.assert_array_equal(mass_on(record, mask=labeled.isel(sample=0, drop=True)), expected)
    np.testing.assert_array_equal(mass_on(record, mask=labeled.transpose("token", "sample")), expected)
    assert expected.dims == ("sample", "layer", "head")


def test_mass_on_a_mask_of_one_sample_is_that_of_the_sample():
    record = kept_record().record
    labeled = record["token_text"] == "the"
    one = mass_on(record.isel(sample=1), mask=labeled.values[1])
    np.testing.assert_array_equal(one, mass_on(record, mask=labeled).isel(sample=1))


def test_mass_on_tokens_that_a_sample_lacks_is_nan_and_says_why():
    record = kept_record().record
    result = mass_on(record, mask=np.arange(9) >= 7)
    assert result.isel(layer=0, head=0).isnull().values.tolist() == [True, False, False]
    assert result.attrs["undefined"] == "NaN where the sample has no such token, or none with a query"
    assert mass_on(record, kinds="distillation").isnull().all()


def test_mass_on_tokens_without_a_query_is_nan():
    record = with_class_attention(kept_record().record, [2])
    result = mass_on(record, kinds="word", direction="attended_by")
    assert result.isnull().any(["sample", "head"]).values.tolist() == [False, False, True, False, False]
    assert (mass_on(record, kinds="cls", direction="attended_by").isel(layer=2) == 1).all()


def test_mass_on_a_span_of_uniform_weights_is_its_length_over_that_of_the_sequence():
    record = patch_record().record
    record["attends_to"].values[...] = 1 / 7
    np.testing.assert_allclose(mass_on(record, mask=np.arange(7) > 3), 3 / 7, rtol=1e-6)
    np.testing.assert_allclose(mass_on(record, mask=record["row"] == 1), 3 / 7, rtol=1e-6)


def test_mass_on_says_in_its_label_on_what():
    record = kept_record().record
    assert mass_on(record).attrs["long_name"] == "share of tokens without content"
    assert mass_on(record, kinds="word").attrs["long_name"] == "share of tokens of kind word"
    assert mass_on(record, mask=np.arange(9) < 3).attrs["long_name"] == "share of the chosen tokens"


def test_mass_on_refuses_kinds_and_a_mask():
    with pytest.raises(RecordError) as raised:
        mass_on(kept_record().record, kinds="cls", mask=np.ones(9, dtype=bool))
    assert str(raised.value) == (
        "`mass_on`: expected `kinds` or a `mask`, but got both. "
        "Combine them: mask & (record.token_kind == kind)."
    )


@pytest.mark.parametrize("kinds", ["registers", ["cls", "registers"]])
def test_mass_on_names_the_nearest_kind(kinds):
    with pytest.raises(
        RecordError, match=r"known token `kinds`, but got 'registers'. Did you mean `register`"
    ):
        mass_on(kept_record().record, kinds=kinds)


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (np.ones(9), "float64 of (token=9)"),
        (np.ones(8, dtype=bool), "bool of (token=8)"),
        (np.ones((9, 3), dtype=bool), "bool of (sample=9, token=3)"),
        (np.ones((1, 3, 9), dtype=bool), "bool of (dim_0=1, dim_1=3, dim_2=9)"),
        (xr.DataArray(np.ones(9, dtype=bool), {"token": np.arange(1, 10)}), "bool of (token=9)"),
        (xr.DataArray(np.ones(3, dtype=bool), dims="sample"), "bool of (sample=3)"),
        (xr.DataArray(np.ones((4, 9), dtype=bool), dims=("head", "token")), "bool of (head=4, token=9)"),
    ],
)
def test_mass_on_refuses_a_mask_that_does_not_fit(mask, got):
    with pytest.raises(RecordError) as raised:
        mass_on(kept_record().record, mask=mask)
    assert str(raised.value) == (
        "`mass_on`: expected a boolean `mask` with the labels of (sample=3, token=9), "
        f"or of its tokens alone, but got {got}. "
        "Make one from the record, such as record.token_text == 'good'."
    )


@pytest.mark.parametrize("function", [max_share, mass_on])
def test_shares_refuse_a_sample_of_nothing_but_padding(function):
    record = kept_record().record
    record["token_mask"].values[1] = False
    with pytest.raises(RecordError) as raised:
        function(record)
    assert str(raised.value) == (
        f"`{function.__name__}`: expected at least one real token in every sample, but got only padding in "
        'sample 1. Leave such samples out: record.isel(sample=record.token_mask.any("token").values).'
    )
