import numpy as np
import pytest

import reference_measures
from clsight import RecordError
from clsight.analysis import position_profile
from hand_made import patch_record
from kept_records import kept_record, with_class_attention

BOTH = pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
FLOAT32 = 6e-8  # patch_record holds float32: the rounding of one weight


@BOTH
def test_position_profile_by_distance_is_the_weight_that_many_tokens_away(direction):
    made = kept_record()
    result = position_profile(made.record, direction=direction)
    place = np.arange(9)[None] * np.ones((3, 1), dtype=int)
    expected = reference_measures.mean_by_place(
        made.dense, made.mask, place, column=direction == "attended_by"
    )
    assert result.dims == ("sample", "layer", "head", "distance")
    assert result["distance"].values.tolist() == list(range(9))
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_position_profile_by_distance_follows_cls():
    record = kept_record().record
    moved = record.roll(token=-1, roll_coords=False).assign_attrs(cls_index=8)
    result, expected = position_profile(moved), position_profile(record)
    assert result["distance"].values.tolist() == list(range(-8, 1))
    np.testing.assert_array_equal(result.sel(distance=0), expected.sel(distance=0))
    np.testing.assert_array_equal(result.sel(distance=-3), expected.sel(distance=6))


@BOTH
@pytest.mark.parametrize("by", ["row", "column"])
def test_position_profile_of_patches_matches_dense_attention(direction, by):
    made = patch_record()
    result = position_profile(made.record, by=by, direction=direction)
    expected = reference_measures.mean_by_place(
        made.dense, made.mask, made.record[by].values, column=direction == "attended_by"
    )
    assert result.dims == ("sample", "layer", "head", by)
    assert dict(result.sizes)[by] == {"row": 2, "column": 3}[by]
    np.testing.assert_allclose(result, expected, atol=FLOAT32)


@pytest.mark.parametrize("by", ["row", "column"])
def test_position_profile_of_images_of_two_sizes_leaves_out_padding(by):
    made = patch_record()
    record, mask = made.record.copy(deep=True), made.mask.copy()
    record["token_mask"].values[1, 4:] = mask[1, 4:] = False  # the second image has one row of three
    expected = reference_measures.mean_by_place(made.dense, mask, record[by].values, column=False)
    result = position_profile(record, by=by)
    assert result.isel(sample=1).isnull().any() == (by == "row")
    np.testing.assert_allclose(result, expected, atol=FLOAT32)


@pytest.mark.parametrize("by", ["distance", "row", "column"])
def test_position_profile_of_uniform_weights_is_flat(by):
    record = patch_record().record
    record["attends_to"].values[...] = 1 / 7
    np.testing.assert_allclose(position_profile(record, by=by), 1 / 7, rtol=1e-6)


@pytest.mark.parametrize("by", ["row", "column"])
def test_position_profile_of_a_selection_is_the_selection_of_the_profile(by):
    record = patch_record().record
    picked = {"sample": 1, "layer": [2, 0], "head": 3}
    one = position_profile(record.sel(picked), by=by)
    np.testing.assert_allclose(one, position_profile(record, by=by).sel(picked), atol=1e-15)
    assert one.dims == ("layer", by)


def test_position_profile_without_a_column_is_nan_beside_cls():
    record = with_class_attention(kept_record().record, [2])
    result = position_profile(record, direction="attended_by").isel(layer=2)
    assert result.isnull().all(["sample", "head"]).values.tolist() == [False] + [True] * 8


def test_position_profile_says_by_what():
    record = patch_record().record
    assert position_profile(record).attrs["long_name"] == "mean weight by distance to CLS"
    assert position_profile(record, by="row").attrs["long_name"] == "mean weight by row of patches"


def test_position_profile_names_the_nearest_place():
    with pytest.raises(RecordError) as raised:
        position_profile(patch_record().record, by="rows")
    assert str(raised.value) == (
        "`position_profile`: expected a known place to go `by`, but got 'rows'. "
        "Did you mean `row`? Options: column, distance, row."
    )


def test_position_profile_by_row_needs_patches():
    with pytest.raises(RecordError, match="`position_profile`: expected a record with `row`, but got one"):
        position_profile(kept_record().record, by="row")
