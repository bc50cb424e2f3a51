import numpy as np

import reference_states
from clsight.analysis import gradient_times_attention
from kept_records import kept_record


def test_gradient_times_attention_matches_dense_attention():
    made = kept_record()
    gradient = made.record["attends_to_gradient"].values
    expected = reference_states.gradient_times_weight(made.dense, gradient, made.mask)
    result = gradient_times_attention(made.record)
    assert result.dims == ("sample", "layer", "head", "token")
    assert (result < 0).any()
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_gradient_times_attention_summed_over_heads():
    made = kept_record()
    gradient = made.record["attends_to_gradient"].values
    expected = reference_states.gradient_times_weight(made.dense, gradient, made.mask)
    result = gradient_times_attention(made.record, sum_heads=True)
    assert result.dims == ("sample", "layer", "token")
    assert result.attrs["long_name"] == "gradient × weight, sum over heads"
    np.testing.assert_allclose(result, sum(expected[:, :, h] for h in range(4)), atol=1e-10)
    one = gradient_times_attention(made.record.isel(head=2), sum_heads=True)
    np.testing.assert_allclose(one, expected[:, :, 2], atol=1e-10)


def test_gradient_times_attention_ignores_what_padding_holds():
    record = kept_record().record
    before = gradient_times_attention(record)
    record["attends_to_gradient"].values[0, ..., 7:] = np.nan
    record["attends_to"].values[0, ..., 7:] = 5.0
    np.testing.assert_array_equal(gradient_times_attention(record), before)


def test_gradient_times_attention_passes_on_a_nan_gradient():
    record = kept_record().record
    record["attends_to_gradient"].values[1, 2, 3, 4] = np.nan
    assert gradient_times_attention(record, sum_heads=True).isnull().values[1, 2, 4]
    assert gradient_times_attention(record).isnull().values[1, 2, 3, 4]


def test_gradient_times_attention_of_a_target_that_does_not_depend_on_it_is_zero():
    record = kept_record().record
    record["attends_to_gradient"].values[...] = 0
    assert (gradient_times_attention(record).isel(sample=2) == 0).all()
