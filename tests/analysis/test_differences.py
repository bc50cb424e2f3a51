import numpy as np
import pytest

import clsight
from clsight import RecordError
from clsight.analysis import difference, entropy
from hand_made import word_record

MEMBERS = {name: word_record(seed=seed).record for seed, name in enumerate(["zeros", "learned", "fixed"])}


def test_difference_subtracts_the_reference_and_leaves_it_out():
    change = difference(entropy(clsight.stack(MEMBERS)))
    assert change["strategy"].values.tolist() == ["zeros", "fixed"]
    assert change.dims == ("strategy", "sample", "layer", "head")
    for name in ("zeros", "fixed"):
        expected = entropy(MEMBERS[name]).values - entropy(MEMBERS["learned"]).values
        np.testing.assert_array_equal(change.sel(strategy=name), expected)


def test_difference_of_raw_weights_sums_to_zero_over_the_row():
    change = difference(clsight.stack(MEMBERS)["attends_to"], to="zeros")
    # two float32 rows, each summing to 1 within 9 roundings of 6e-8
    np.testing.assert_allclose(change.sum("token"), 0.0, atol=1.2e-6)


def test_difference_says_in_its_label_to_whom():
    change = difference(entropy(clsight.stack(MEMBERS)), to="fixed")
    assert change.attrs == {"long_name": "entropy, minus fixed", "units": "nats"}


def test_difference_over_seeds():
    stacked = clsight.stack({3: MEMBERS["zeros"], 5: MEMBERS["fixed"]}, dim="seed")
    change = difference(entropy(stacked), to=3, dim="seed")
    np.testing.assert_array_equal(
        change.sel(seed=5), entropy(MEMBERS["fixed"]).values - entropy(MEMBERS["zeros"]).values
    )


def test_difference_needs_a_stack():
    with pytest.raises(RecordError) as raised:
        difference(entropy(MEMBERS["zeros"]))
    assert str(raised.value) == (
        "`difference`: expected an array with a `strategy` dimension, but got dims (sample, layer, head). "
        'Stack records first: clsight.stack({"learned": a, "zeros": b}).'
    )


def test_difference_names_the_members():
    with pytest.raises(RecordError, match=r"got 'learnt'. Did you mean `learned`\? Options: fixed, learned"):
        difference(entropy(clsight.stack(MEMBERS)), to="learnt")


def test_difference_refuses_a_record():
    with pytest.raises(
        RecordError, match=r"expected a measure, an xarray.DataArray, but got .* type Dataset"
    ):
        difference(clsight.stack(MEMBERS))
