import numpy as np
import pytest

import clsight
from clsight.analysis import mean_attended_by, received, rollout
from kept_records import kept_record, received_by_each, rolled_out, with_class_attention

BOTH = pytest.mark.parametrize("function", [rollout, received])


def test_rollout_is_that_of_dense_attention():
    made = kept_record()
    result = rollout(made.record)
    assert result.dims == ("sample", "token")
    np.testing.assert_allclose(result, np.where(made.mask, rolled_out(made.dense), np.nan), atol=1e-10)
    np.testing.assert_allclose(result.sum("token"), 1.0, atol=1e-12)


def test_received_is_that_of_dense_attention():
    made = kept_record()
    result = received(made.record)
    real = made.mask[:, None, None]
    assert result.dims == ("sample", "layer", "head", "token")
    np.testing.assert_allclose(
        result, np.where(real, received_by_each(made.dense, made.mask), np.nan), atol=1e-10
    )
    np.testing.assert_allclose(result.sum("token"), 1.0, atol=1e-12)


def test_received_by_cls_is_the_mean_of_its_column():
    record = kept_record().record
    expected = mean_attended_by(record, include_cls=True)
    np.testing.assert_allclose(received(record).isel(token=0), expected, atol=1e-12)


def test_received_under_class_attention_is_nan_and_says_why():
    result = received(with_class_attention(kept_record().record, [1, 4]))
    assert result.isnull().all(["sample", "head", "token"]).values.tolist() == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert result.attrs["undefined"] == "NaN where CLS is the only query of the layer"


@BOTH
def test_mixing_ignores_what_padding_holds(function):
    record = kept_record().record
    before = function(record)
    record[function.__name__].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(function(record), before)
    assert before.isel(sample=0, token=slice(7, None)).isnull().all()


@BOTH
def test_mixing_is_in_float64_and_of_each_member_of_a_stack(function):
    name = function.__name__
    members = {member: kept_record(seed=seed).record for seed, member in ((3, "learned"), (4, "zeros"))}
    members = {member: record.assign({name: record[name].astype("f4")}) for member, record in members.items()}
    stacked = function(clsight.stack(members))
    assert stacked.dtype == np.float64
    for member, record in members.items():
        np.testing.assert_array_equal(stacked.sel(strategy=member), function(record))


@BOTH
def test_mixing_says_what_to_keep(function):
    name = function.__name__
    with pytest.raises(clsight.RecordError) as raised:
        function(kept_record().record.drop_vars(name))
    assert str(raised.value) == (
        f"`{name}`: expected a record with `{name}`, but got one without it. "
        f"Capture again with keep='{name}'."
    )
