import numpy as np
import pytest

import clsight
import reference_measures
from clsight import RecordError
from clsight.analysis import mean_attended_by, sink_rate, token_sink_rate
from kept_records import kept_record, with_class_attention

EPSILONS = pytest.mark.parametrize("epsilon", [0.08, 0.1, 0.15, 0.3])


@EPSILONS
def test_sink_rate_matches_dense_attention(epsilon):
    made = kept_record()
    result = sink_rate(made.record, epsilon=epsilon)
    expected = reference_measures.share_of_sinks(made.dense, made.mask, epsilon)
    assert result.dims == ("sample",)
    assert epsilon == 0.3 or 0 < expected.min() < 1
    np.testing.assert_allclose(result, expected, atol=1e-10)


@EPSILONS
def test_token_sink_rate_matches_dense_attention(epsilon):
    made = kept_record()
    result = token_sink_rate(made.record, epsilon=epsilon)
    expected = reference_measures.share_of_sinks_of_each_token(made.dense, made.mask, epsilon)
    assert result.dims == ("sample", "token")
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_sink_rate_counts_heads_strictly_above_epsilon_by_hand():
    record = kept_record().record
    record["attended_by"].values[...] = 0.1
    record["attended_by"].values[:, :2] = 0.25
    record["attended_by"].values[:, 2, :3] = 0.75
    record["attended_by"].values[..., 0] = 1.0  # the query of CLS itself does not count
    assert sink_rate(record, epsilon=0.25).values.tolist() == [3 / 20] * 3
    assert sink_rate(record, epsilon=0.2).values.tolist() == [11 / 20] * 3


def test_sink_rate_over_nothing_says_of_each_head_whether_it_is_one():
    made = kept_record()
    result = sink_rate(made.record, epsilon=0.1, over=())
    expected = reference_measures.mean_from_others(made.dense, made.mask) > 0.1
    np.testing.assert_array_equal(result, expected)
    layers = sink_rate(made.record, epsilon=0.1, over="head")
    np.testing.assert_allclose(layers, expected.mean(axis=2), atol=1e-12)


def test_sink_rate_says_epsilon_and_number_of_tokens():
    record = kept_record().record
    result = sink_rate(record, epsilon=0.25)
    assert result.attrs == {
        "long_name": "share of heads with more than 0.25 on CLS, 7 to 9 tokens",
        "units": "",
        "undefined": "NaN where no head has a column, as under class attention",
        "epsilon": 0.25,
        "tokens": [7, 9],
    }
    one = token_sink_rate(record.isel(sample=[2]))
    assert one.attrs["long_name"] == "share of heads with more than 0.3 on each token, 9 tokens"
    assert one.attrs["tokens"] == [9, 9]


def test_sink_rate_leaves_out_layers_without_a_column():
    record = kept_record().record
    result = sink_rate(with_class_attention(record, [1, 3]), epsilon=0.1)
    np.testing.assert_allclose(result, sink_rate(record.isel(layer=[0, 2, 4]), epsilon=0.1), atol=1e-12)
    nowhere = with_class_attention(record, slice(None))
    assert sink_rate(nowhere).isnull().all()
    assert token_sink_rate(nowhere).isnull().all()


def test_sink_rate_ignores_what_padding_holds():
    record = kept_record().record
    before = sink_rate(record, epsilon=0.1), token_sink_rate(record, epsilon=0.1)
    record["attended_by"].values[0, ..., 7:] = 5.0
    record["received"].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(sink_rate(record, epsilon=0.1), before[0])
    np.testing.assert_array_equal(token_sink_rate(record, epsilon=0.1), before[1])


def test_sink_rate_does_not_depend_on_the_order_of_heads():
    record = kept_record().record
    shuffled = record.isel(head=[2, 0, 3, 1])
    np.testing.assert_allclose(sink_rate(shuffled, epsilon=0.1), sink_rate(record, epsilon=0.1), atol=1e-12)


def test_sink_rate_of_a_stack_is_that_of_each_member():
    members = {name: kept_record(seed=seed).record for seed, name in ((3, "learned"), (4, "zeros"))}
    stacked = sink_rate(clsight.stack(members), epsilon=0.1)
    for name, record in members.items():
        np.testing.assert_array_equal(stacked.sel(strategy=name), sink_rate(record, epsilon=0.1))


def test_sink_rate_at_a_tiny_threshold_is_one_where_others_attend_at_all():
    record = kept_record().record
    assert (mean_attended_by(record) > 0).all()
    assert (sink_rate(record, epsilon=1e-12) == 1).all()


@pytest.mark.parametrize("function", [sink_rate, token_sink_rate])
@pytest.mark.parametrize("epsilon", [0, 1, -0.3, float("nan")])
def test_sink_rate_refuses_what_is_no_threshold(function, epsilon):
    with pytest.raises(RecordError) as raised:
        function(kept_record().record, epsilon=epsilon)
    assert str(raised.value) == (
        f"`{function.__name__}`: expected an `epsilon` above 0 and below 1, but got {epsilon!r}. "
        "Gu et al. use 0.3."
    )


def test_sink_rate_names_an_unknown_dim():
    with pytest.raises(RecordError, match=r"`sink_rate`: expected `over` among the dims .* got 'heads'"):
        sink_rate(kept_record().record, over="heads")
