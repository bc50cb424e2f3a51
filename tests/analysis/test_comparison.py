import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

import clsight
import reference_comparison
from clsight import RecordError
from clsight.analysis import distance, match_heads
from hand_made import patch_record
from kept_records import kept_record, with_class_attention

BOTH = pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
KINDS = pytest.mark.parametrize("kind", ["jensen_shannon", "spearman"])
SHARES = arrays(np.float64, 7, elements=st.floats(0, 1).map(lambda x: round(x, 2))).filter(np.any)


ONE_HEAD = patch_record().record.isel(sample=[0], layer=[0], head=[0])


def with_row(shares):
    """Return a record of one head that attends to 7 tokens in these shares."""
    return ONE_HEAD.assign(
        attends_to=(ONE_HEAD["attends_to"].dims, (shares / shares.sum())[None, None, None])
    )


@BOTH
@KINDS
def test_distance_matches_dense_attention(kind, direction):
    a, b = kept_record(), kept_record(seed=4)
    result = distance(a.record, b.record, kind=kind, direction=direction)
    expected = reference_comparison.distance_of_each_head(
        a.dense, b.dense, a.mask, kind=kind, column=direction == "attended_by"
    )
    assert result.dims == ("sample", "layer", "head")
    np.testing.assert_allclose(result, expected, atol=1e-10)


@settings(max_examples=40)
@given(SHARES, SHARES)
def test_distance_of_any_two_rows_is_a_symmetric_number_from_zero_to_one(p, q):
    one, other = with_row(p), with_row(q)
    result = distance(one, other).item()
    assert 0 <= result <= 1
    assert result == distance(other, one).item()
    assert distance(one, one).item() == 0
    # √ turns the rounding of a divergence, 1e-16, into 1e-8
    assert result == pytest.approx(jensenshannon(p, q, base=2), abs=1e-7)


@settings(max_examples=40)
@given(SHARES, SHARES)
def test_rank_distance_of_any_two_rows_matches_loops(p, q):
    result = distance(with_row(p), with_row(q), kind="spearman").item()
    shares = [list(values / values.sum()) for values in (p, q)]
    np.testing.assert_allclose(result, 1 - reference_comparison.spearman(*shares), atol=1e-12)


def test_distance_of_rows_that_share_no_token_is_one():
    left, right = np.array([0.5, 0.5, 0, 0, 0, 0, 0]), np.array([0, 0, 0.1, 0.2, 0.3, 0.4, 0])
    assert distance(with_row(left), with_row(right)).item() == pytest.approx(1.0, abs=1e-15)


def test_rank_distance_of_the_reverse_order_is_two():
    rising = np.arange(1.0, 8.0)
    assert distance(with_row(rising), with_row(rising[::-1]), kind="spearman").item() == pytest.approx(2.0)
    assert distance(with_row(rising), with_row(rising**3), kind="spearman").item() == pytest.approx(0.0)


def test_rank_distance_to_uniform_weights_is_nan_and_says_why():
    uniform, rising = with_row(np.ones(7)), with_row(np.arange(1.0, 8.0))
    result = distance(uniform, rising, kind="spearman")
    assert result.isnull().all()
    assert result.attrs["undefined"] == (
        "NaN where all weights are equal, fewer than two tokens count, or not the same ones in both"
    )
    assert distance(uniform, rising).notnull().all()


@KINDS
def test_distance_is_nan_where_one_head_sees_nothing(kind):
    a, b = kept_record().record, kept_record(seed=4).record
    b["attends_to"].values[1, 2, 3] = 0
    assert np.argwhere(distance(a, b, kind=kind).isnull().values).tolist() == [[1, 2, 3]]


@KINDS
def test_distance_of_columns_is_nan_where_one_model_has_class_attention(kind):
    a = kept_record().record
    b = with_class_attention(kept_record(seed=4).record, [1, 3])
    result = distance(a, b, kind=kind, direction="attended_by")
    assert result.isnull().all(["sample", "head"]).values.tolist() == [False, True, False, True, False]
    assert result.isel(layer=[0, 2, 4]).notnull().all()


@KINDS
def test_distance_is_nan_where_both_heads_see_nothing(kind):
    record = kept_record().record
    record["attends_to"].values[1, 2, 3] = 0
    assert np.argwhere(distance(record, record, kind=kind).isnull().values).tolist() == [[1, 2, 3]]


def test_rank_distance_of_weights_of_zero_is_not_disturbed_by_padding():
    one, other = kept_record(), kept_record(seed=4)
    for made in (one, other):
        made.dense[:, :, :, 0, 2:5] = 0
        made.record["attends_to"].values[...] = made.dense[..., 0, :]
    expected = reference_comparison.distance_of_each_head(
        one.dense, other.dense, one.mask, kind="spearman", column=False
    )
    np.testing.assert_allclose(distance(one.record, other.record, kind="spearman"), expected, atol=1e-12)


@BOTH
@KINDS
def test_distance_ignores_what_padding_holds(kind, direction):
    a, b = kept_record().record, kept_record(seed=4).record
    before = distance(a, b, kind=kind, direction=direction)
    b[direction].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(distance(a, b, kind=kind, direction=direction), before)


@KINDS
def test_distance_of_a_selection_is_the_selection_of_the_distance(kind):
    a, b = kept_record().record, kept_record(seed=4).record
    for picked in ({"sample": 1}, {"layer": [3, 1], "head": [2]}, {"sample": [2], "layer": 0, "head": 3}):
        one = distance(a.isel(picked), b.isel(picked), kind=kind)
        np.testing.assert_allclose(one, distance(a, b, kind=kind).isel(picked), atol=1e-15)


def test_distance_of_a_stack_to_a_record_is_that_of_each_member():
    members = {name: kept_record(seed=seed).record for seed, name in ((3, "learned"), (4, "zeros"))}
    other = kept_record(seed=5).record
    result = distance(clsight.stack(members), other)
    assert result.dims == ("strategy", "sample", "layer", "head")
    for name, record in members.items():
        np.testing.assert_array_equal(result.sel(strategy=name), distance(record, other))


def test_distance_goes_by_the_inputs_and_not_by_the_numbers_of_samples():
    a, b = kept_record().record, kept_record(seed=4).record
    renumbered = b.isel(sample=[1, 2]).assign_coords(sample=[0, 1])
    np.testing.assert_array_equal(distance(a.isel(sample=[1, 2]), renumbered), distance(a, b)[1:])


def test_distance_refuses_records_of_different_inputs():
    a, b = kept_record().record, kept_record().record
    b["token_text"].values[1, 3] = "ocean"
    with pytest.raises(RecordError) as raised:
        distance(a, b)
    assert str(raised.value) == (
        "`distance`: expected records of the same inputs, with equal `token_text at sample=1, token=3`, "
        "but got 'river & sea' in 'first' and 'ocean' in 'second'. "
        "Capture them again with the same inputs."
    )
    with pytest.raises(
        RecordError, match=r"`match_heads`: expected records of the same inputs, .*token_text"
    ):
        match_heads(a, b)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda record: record.isel(token=slice(0, 8)), "equal `token`, but got 9 in 'first' and 8 in"),
        (lambda record: record.isel(sample=[0, 1]), "equal `sample`, but got 3 in 'first' and 2 in"),
        (lambda record: record.assign_attrs(cls_index=1), "equal `cls_index`, but got 0 in 'first' and 1"),
        (
            lambda record: record.assign(token_mask=record["token_mask"] | True),
            "equal `token_mask at sample=0, token=7`, but got False in 'first' and True in 'second'",
        ),
        (
            lambda record: record.drop_vars("label"),
            "equal `label`, but got 'present' in 'first' and 'absent'",
        ),
    ],
)
def test_distance_says_in_what_the_inputs_differ(change, what):
    record = kept_record().record
    with pytest.raises(RecordError, match=what):
        distance(record, change(record))


def test_distance_refuses_other_layers_and_heads():
    a = kept_record().record
    with pytest.raises(RecordError) as raised:
        distance(a, a.isel(head=[0, 1, 3]))
    assert str(raised.value) == (
        "`distance`: expected two records with the same labels of `head`, but got [0, 1, 2, 3] in the first "
        "and [0, 1, 3] in the second. Find out which head is which first: "
        "clsight.analysis.match_heads(first, second)."
    )
    for function in (distance, match_heads):
        with pytest.raises(
            RecordError, match=r"same labels of `layer`, but got .* Select layers that correspond"
        ):
            function(a, a.isel(layer=slice(0, 4)))


def test_distance_names_the_nearest_kind():
    record = kept_record().record
    with pytest.raises(RecordError) as raised:
        distance(record, record, kind="jensen")
    assert str(raised.value) == (
        "`distance`: expected a known `kind`, but got 'jensen'. Did you mean `jensen_shannon`? "
        "Options: jensen_shannon, spearman."
    )


@pytest.mark.parametrize("function", [distance, match_heads])
def test_comparisons_refuse_what_is_no_record(function):
    record = kept_record().record
    for pair in ((record, record["attends_to"]), ("a.zarr.zip", record)):
        with pytest.raises(RecordError, match=f"`{function.__name__}`: expected a record, an xarray.Dataset"):
            function(*pair)


@BOTH
def test_match_heads_finds_the_cheapest_of_all_assignments(direction):
    a, b = kept_record(), kept_record(seed=4)
    found = match_heads(a.record, b.record, direction=direction)
    assert found["match"].dims == found["distance"].dims == ("layer", "head")
    column = direction == "attended_by"
    for layer in range(5):
        cost = np.zeros((4, 4))
        for h, other in np.ndindex(4, 4):
            for s in range(3):
                p = reference_comparison.shares_of_head(a.dense, a.mask, (s, layer, h), column=column)
                q = reference_comparison.shares_of_head(b.dense, b.mask, (s, layer, other), column=column)
                cost[h, other] += reference_comparison.divergence_in_bits(p, q) ** 0.5 / 3
        order = reference_comparison.best_assignment(cost)
        assert found["match"].values[layer].tolist() == list(order)
        np.testing.assert_allclose(
            found["distance"][layer], [cost[h, order[h]] for h in range(4)], atol=1e-10
        )


@settings(max_examples=30)
@given(st.lists(st.permutations(range(4)), min_size=5, max_size=5))
def test_match_heads_finds_a_permutation_of_each_layer_again(orders):
    record = kept_record().record
    shuffled = record.copy(deep=True)
    for layer, order in enumerate(orders):
        shuffled["attends_to"].values[:, layer] = record["attends_to"].values[:, layer, order]
    found = match_heads(record, shuffled)
    assert (found["distance"] == 0).all()
    for layer, order in enumerate(orders):
        assert [order[place] for place in found["match"].values[layer]] == [0, 1, 2, 3]
    again = shuffled["attends_to"].sel(head=found["match"])
    np.testing.assert_array_equal(again, record["attends_to"])


def test_match_heads_gives_labels_and_leaves_heads_over_where_the_other_has_fewer():
    record = kept_record().record
    found = match_heads(record, record.isel(head=[3, 1]))
    assert found["match"].values.tolist() == [[-1, 1, -1, 3]] * 5
    assert found["distance"].isnull().values.tolist() == [[True, False, True, False]] * 5
    other_way = match_heads(record.isel(head=[3, 1]), record)
    assert other_way["match"].values.tolist() == [[3, 1]] * 5


def test_match_heads_works_on_a_selected_layer_and_sample():
    a, b = kept_record().record, kept_record(seed=4).record
    one = match_heads(a.isel(layer=2, sample=1), b.isel(layer=2, sample=1))
    whole = match_heads(a.isel(layer=[2], sample=[1]), b.isel(layer=[2], sample=[1]))
    assert one["match"].dims == ("head",)
    np.testing.assert_array_equal(one["match"], whole["match"][0])


def test_match_heads_leaves_out_samples_in_which_a_head_sees_nothing():
    a, b = kept_record().record, kept_record(seed=4).record
    b["attends_to"].values[1, 2, 3] = 0
    found = match_heads(a, b)
    assert found["distance"].notnull().all()
    assert isinstance(found, xr.Dataset)


def test_match_heads_refuses_heads_that_see_nothing_in_any_sample():
    a, b = kept_record().record, kept_record(seed=4).record
    b["attends_to"].values[:, 2, 3] = 0
    with pytest.raises(RecordError) as raised:
        match_heads(a, b)
    assert str(raised.value) == (
        "`match_heads`: expected heads whose distances are defined in at least one sample, but got 4 of 80 "
        "pairs without. Their weights are all 0, or not the same tokens have a query. "
        "Leave out such layers: record.isel(layer=...)."
    )
