import numpy as np
import pytest

import clsight
import reference_comparison
from clsight import RecordError
from clsight.analysis import head_agreement, head_clusters
from hand_made import patch_record
from kept_records import kept_record, with_class_attention

BOTH = pytest.mark.parametrize("direction", ["attends_to", "attended_by"])


def three_sorts_of_heads():
    """Return a record whose 4 heads in 3 layers look at token 1, at tokens 2 and 3, or at all alike."""
    record = patch_record().record
    sorts = np.array([np.eye(7)[1], (np.eye(7)[2] + np.eye(7)[3]) / 2, np.full(7, 1 / 7)])
    numbers = np.array([[1, 0, 1, 2], [0, 2, 2, 1], [1, 1, 0, 0]])
    record["attends_to"].values[...] = sorts[numbers][None]
    return record, numbers


@BOTH
def test_head_agreement_matches_dense_attention(direction):
    made = kept_record(layers=3)
    result = head_agreement(made.record, direction=direction)
    expected = reference_comparison.agreement_of_heads(
        made.dense, made.mask, column=direction == "attended_by"
    )
    assert result.dims == ("sample", "layer", "head", "other_layer", "other_head")
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_head_agreement_is_symmetric_and_one_with_itself():
    result = head_agreement(kept_record().record)
    swapped = result.transpose("sample", "other_layer", "other_head", "layer", "head")
    np.testing.assert_array_equal(result, swapped)
    assert all((result[:, layer, h, layer, h] == 1).all() for layer in range(5) for h in range(4))


def test_head_agreement_of_heads_known_by_hand():
    record, _ = three_sorts_of_heads()
    result = head_agreement(record).isel(sample=0, layer=0)
    assert result.isel(head=0, other_layer=0, other_head=2) == 1  # the same two tokens
    assert result.isel(head=0, other_layer=0, other_head=1).item() == pytest.approx(
        0, abs=1e-7
    )  # none shared


def test_head_agreement_keeps_labels_of_a_selection():
    record = kept_record().record
    whole = head_agreement(record)
    part = head_agreement(record.sel(layer=[4, 1], head=[3, 0], sample=2))
    picked = {"layer": [4, 1], "other_layer": [4, 1], "head": [3, 0], "other_head": [3, 0], "sample": 2}
    np.testing.assert_allclose(part, whole.sel(picked), atol=1e-15)
    assert part["other_layer"].values.tolist() == [4, 1]
    assert part["other_head"].values.tolist() == [3, 0]
    assert part["layer_name"].values.tolist() == ["encoder.layers.4", "encoder.layers.1"]
    one_layer = head_agreement(record.sel(layer=4))
    assert one_layer.dims == ("sample", "head", "other_head")
    np.testing.assert_allclose(one_layer, whole.sel(layer=4, other_layer=4), atol=1e-15)


def test_head_agreement_of_a_stack_is_that_of_each_member():
    members = {name: kept_record(seed=seed).record for seed, name in ((3, "learned"), (4, "zeros"))}
    stacked = head_agreement(clsight.stack(members))
    for name, record in members.items():
        np.testing.assert_array_equal(stacked.sel(strategy=name), head_agreement(record))


def test_head_agreement_is_nan_where_not_the_same_tokens_have_a_query():
    record = with_class_attention(kept_record().record, [1])
    result = head_agreement(record, direction="attended_by").isel(sample=0, head=0, other_head=1)
    assert result.isel(layer=0).isnull().values.tolist() == [False, True, False, False, False]
    assert result.attrs["undefined"] == (
        "NaN where a head has nothing to share, or not the same tokens have a query"
    )


@BOTH
def test_head_agreement_ignores_what_padding_holds(direction):
    record = kept_record().record
    before = head_agreement(record, direction=direction)
    record[direction].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(head_agreement(record, direction=direction), before)


def test_head_agreement_needs_heads():
    with pytest.raises(RecordError) as raised:
        head_agreement(kept_record().record.isel(head=0))
    assert str(raised.value) == (
        "`head_agreement`: expected a record with a `head` dimension, but got dims (sample, layer, token). "
        "Select one head after this function, not before."
    )


def test_head_clusters_finds_the_sorts_that_heads_were_made_of():
    record, numbers = three_sorts_of_heads()
    found = head_clusters(record, 3)
    assert found["cluster"].dims == ("layer", "head")
    first_seen = {1: 0, 0: 1, 2: 2}
    assert found["cluster"].values.tolist() == [[first_seen[n] for n in row] for row in numbers.tolist()]
    places = found["leaf"].values.ravel()
    assert sorted(places.tolist()) == list(range(12))
    in_order = found["cluster"].values.ravel()[np.argsort(places)]
    assert (np.diff(in_order) != 0).sum() == 2  # each sort stands together
    assert found["linkage"].sel(part="size")[-1] == 12
    assert found.attrs["method"] == "average"


@pytest.mark.parametrize("count", [1, 2, 5, 9, 20])
def test_head_clusters_by_average_distance_match_loops(count):
    made = kept_record()
    agreement = reference_comparison.agreement_of_heads(made.dense, made.mask, column=False)
    distances = 1 - agreement.mean(axis=0).reshape(20, 20)
    expected = reference_comparison.clusters_by_average_distance(distances.tolist(), count)
    assert head_clusters(made.record, count)["cluster"].values.ravel().tolist() == expected


def test_head_clusters_of_shuffled_heads_are_the_same_groups():
    record, numbers = three_sorts_of_heads()
    order = [2, 0, 3, 1]
    found = head_clusters(record.isel(head=order), 3, method="complete")["cluster"].values
    for number in range(3):
        members = found[numbers[:, order] == number]
        assert (members == members[0]).all()


def test_head_clusters_of_one_layer_have_no_layer():
    found = head_clusters(kept_record().record.isel(layer=2), 2, method="single")
    assert found["cluster"].dims == found["leaf"].dims == ("head",)
    assert set(found["cluster"].values.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda record: record,
            {"count": 21},
            "expected a `count` from 1 to 20, but got 21. Ask for no more groups than heads.",
        ),
        (
            lambda record: record,
            {"count": 0},
            "expected a `count` from 1 to 20, but got 0. Ask for no more groups than heads.",
        ),
        (
            lambda record: record,
            {"method": "averaged"},
            "expected a known `method`, but got 'averaged'. Did you mean `average`? "
            "Options: average, complete, single.",
        ),
        (
            lambda record: record.isel(layer=[0], head=[1]),
            {"count": 1},
            "expected two heads or more, but got 1. Keep more heads or layers.",
        ),
        (
            lambda record: clsight.stack({"a": record, "b": record}),
            {},
            "expected a plain record, but got a stack along `strategy`. "
            "Select one first: record.sel(strategy=...).",
        ),
        (
            lambda record: with_class_attention(record, [1]),
            {"direction": "attended_by"},
            "expected heads whose agreement is defined in at least one sample, but got 128 of 400 pairs "
            "without. Leave out layers that have no such weights: record.isel(layer=...).",
        ),
    ],
)
def test_head_clusters_refuses_what_cannot_be_grouped(change, options, message):
    with pytest.raises(RecordError) as raised:
        head_clusters(change(kept_record().record), **options)
    assert str(raised.value) == f"`head_clusters`: {message}"
