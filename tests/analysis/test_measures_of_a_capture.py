"""Every measure on what a real capture gives: a trained model, padding, and a layer that CLS alone asks."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight import analysis
from clsight.analysis import MEASURES
from clsight.hooks.keeping import KEEP


@pytest.fixture(scope="module")
def digits():
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    return clsight.capture(subject, subject.examples, keep=list(KEEP))


@pytest.fixture(scope="module")
def padded():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    padding = torch.arange(9) >= torch.tensor([[5], [9], [1]])  # the last sample is CLS alone
    inputs = {"src": torch.randn(3, 9, 16), "src_key_padding_mask": padding}
    target = lambda output: output[:, 0].sum(-1)  # noqa: E731
    return clsight.capture(encoder, inputs, cls_index=0, keep=list(KEEP), target=target)


class AskedByClsAlone(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x[:, :1], x, x)[0]


@pytest.mark.parametrize("name", list(MEASURES))
def test_measure_of_a_trained_model_is_defined_everywhere(digits, name):
    described = MEASURES[name]
    result = described.function(digits)
    assert result.dims == described.dims
    assert np.isfinite(result.values).all()


@pytest.mark.parametrize("name", list(MEASURES))
def test_measure_of_a_padded_batch_is_that_of_each_sample_alone(padded, name):
    described = MEASURES[name]
    result = described.function(padded)
    for sample, length in enumerate((5, 9, 1)):
        alone = described.function(padded.isel(sample=[sample], token=slice(0, length)))
        place = next((dim for dim in ("token", "distance") if dim in result.dims), None)
        found = result.isel(sample=[sample])
        if place:
            assert found.isel({place: slice(length, None)}).isnull().all()
            found = found.isel({place: slice(0, length)})
        np.testing.assert_allclose(found, alone, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in MEASURES if "hidden" not in MEASURES[name].needs])
def test_measure_of_a_layer_that_cls_alone_asks_reads_the_row_and_has_no_column(name):
    torch.manual_seed(0)
    described = MEASURES[name]
    record = clsight.capture(
        AskedByClsAlone(),
        torch.randn(2, 7, 16),
        cls_index=0,
        keep=["contributions", "rollout", "received", "gradient"],
        target=lambda output: output.sum((1, 2)),
    )
    result = described.function(record)
    if {"attended_by", "received"} & set(described.needs):
        assert result.isnull().all()
        assert result.attrs["undefined"].startswith("NaN where ")
    else:
        assert np.isfinite(result.values).all()


def test_shares_of_norms_of_a_trained_model_differ_from_its_weights(digits):
    shares = analysis.norm_weighted(digits, normalized=True)
    np.testing.assert_allclose(shares.sum("token"), 1.0, atol=1e-6)
    assert float(abs(shares - analysis.lift(digits) / digits.sizes["token"]).max()) > 0.05


def test_cka_of_a_trained_model_is_undefined_at_its_learned_start(digits):
    result = analysis.cka(digits, permutations=19)
    assert result["cka"].isel(depth=0).isnull().all()
    assert (result["cka"][1:, 1:] > 0).all()


def test_heads_of_a_model_match_themselves(digits):
    found = analysis.match_heads(digits, digits)
    assert (found["match"] == digits["head"]).all()
    assert (found["distance"] == 0).all()
