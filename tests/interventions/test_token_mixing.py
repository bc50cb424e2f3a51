"""ALTI and GlobEnc, against loops over pairs of tokens."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
import reference_decompositions as reference
from clsight.interventions import alti, globenc
from decomposed_models import BUILDERS, minilm, model, without_padding
from encoder_builders import randomize


@pytest.mark.parametrize("name", BUILDERS)
def test_alti_equals_loops(name):
    case = model(name)
    found = alti(case.module, case.inputs, cls_index=case.cls_index)
    for sample, layers in enumerate(case.samples):
        pairs = zip(case.blocks, layers, strict=True)
        matrices = [reference.alti_matrix(block, pieces) for block, pieces in pairs]
        expected = without_padding(reference.rolled(matrices, case.cls_index), case.mask[sample])
        np.testing.assert_allclose(found.alti[sample], expected, atol=1e-11)
        for layer, matrix in enumerate(matrices):
            here = found.isel(sample=sample, layer=layer)
            row = matrix[case.cls_index]
            np.testing.assert_allclose(here.alti_layer, without_padding(row, case.mask[sample]), atol=1e-11)
            assert float(here.clipped) == (row[case.mask[sample]] == 0).mean()
    np.testing.assert_allclose(found.alti.sum("token"), 1, atol=1e-12)
    assert "reason" not in found.alti.attrs


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("variant", ["product", "row_normalized"])
def test_globenc_equals_loops(name, variant):
    case = model(name)
    found = globenc(case.module, case.inputs, variant=variant, cls_index=case.cls_index)
    assert found.attrs["variant"] == variant
    for sample, layers in enumerate(case.samples):
        pairs = zip(case.blocks, layers, strict=True)
        matrices = [reference.globenc_matrix(block, pieces) for block, pieces in pairs]
        for layer, matrix in enumerate(matrices):
            here = found.globenc_layer.isel(sample=sample, layer=layer)
            row = without_padding(matrix[case.cls_index], case.mask[sample])
            np.testing.assert_allclose(here, row, rtol=1e-10, atol=1e-12)
        if variant == "row_normalized":
            matrices = [matrix / matrix.sum(1, keepdims=True) for matrix in matrices]
        row = without_padding(reference.rolled(matrices, case.cls_index), case.mask[sample])
        np.testing.assert_allclose(found.globenc[sample], row / np.nansum(row), atol=1e-11)


def test_variants_of_globenc_differ_on_a_trained_model():
    case = minilm()
    found = {
        variant: globenc(case.module, case.inputs, variant=variant)
        for variant in ("product", "row_normalized")
    }
    difference = abs(found["product"].globenc - found["row_normalized"].globenc).max()
    assert 0.01 < float(difference) < 0.3
    assert float(found["product"].globenc_layer.min()) > 0


def test_alti_clips_about_a_quarter_of_the_tokens_of_a_trained_model():
    """Published on other texts: 22 to 39 % of the entries of CLS are clipped."""
    case = minilm()
    found = alti(case.module, case.inputs)
    assert 0.1 < float(found.clipped.mean()) < 0.5
    np.testing.assert_allclose(found.alti.sum("token"), 1, atol=1e-9)


def test_block_size_does_not_change_the_result(monkeypatch):
    case = model("torch, post-norm")
    whole = alti(case.module, case.inputs)
    monkeypatch.setattr("clsight.interventions.sublayer._BLOCK_BYTES", 1)
    np.testing.assert_allclose(alti(case.module, case.inputs).alti, whole.alti, atol=1e-14)


@pytest.mark.parametrize("measure", [alti, globenc])
def test_long_sequences_are_refused_in_a_sentence(measure):
    case = model("torch, post-norm")
    with pytest.raises(clsight.CaptureError) as refused:
        measure(case.module, case.inputs, max_tokens=8)
    assert str(refused.value) == (
        f"`{measure.__name__}`: expected at most 8 tokens, as its cost grows with their square, but got 9. "
        "Pass shorter inputs, or max_tokens=9 if you have the time and memory."
    )


@pytest.mark.parametrize("most", ["a", 2.5, True, 0])
def test_limit_that_is_no_number_of_tokens_is_refused(most):
    case = model("torch, post-norm")
    with pytest.raises(clsight.CaptureError) as refused:
        alti(case.module, case.inputs, max_tokens=most)
    assert str(refused.value) == (
        f"`alti`: expected `max_tokens` as a whole number, 1 or more, but got {most!r}. Leave it out for the "
        "usual limit."
    )


def test_unknown_variant_names_the_nearest():
    case = model("torch, post-norm")
    with pytest.raises(
        clsight.CaptureError, match="Did you mean `product`\\? Options: product, row_normalized"
    ):
        globenc(case.module, case.inputs, variant="products")


class Averaging(nn.Module):
    """x + mean of x: attention with all weights equal, and values that are the states themselves."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, bias=False, batch_first=True)
        with torch.no_grad():
            self.attention.in_proj_weight.copy_(torch.cat([torch.zeros(4, 2), torch.eye(2)]))
            self.attention.out_proj.weight.copy_(torch.eye(2))

    def forward(self, x):
        return x + self.attention(x, x, x, need_weights=False)[0]


def test_alti_known_by_hand():
    found = alti(Averaging(), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    # y_0 = (1.5, 0) + (0, 0.5); near: 2 − 0.5 and 2 − 1.5
    np.testing.assert_allclose(found.alti_layer, [[[0.75, 0.25]]], rtol=1e-6)
    np.testing.assert_allclose(found.alti, [[0.75, 0.25]], rtol=1e-6)


def test_alti_is_nan_with_a_reason_where_all_is_clipped():
    """Parts (15, −15) and (−15, 15.25), sum (0, 0.25): each is farther from the sum than zero is."""
    x = torch.tensor([[[10.0, -10.0], [-30.0, 30.5]], [[1.0, 0.0], [0.0, 1.0]]])
    found = alti(Averaging(), x)
    for variable in (found.alti, found.alti_layer):
        assert variable.isel(sample=0).isnull().all()
        assert variable.isel(sample=1).notnull().all()
        assert variable.attrs["reason"] == (
            "no token is nearer to the result than zero is: all contributions of a query are clipped"
        )
    np.testing.assert_array_equal(found.clipped, [[1.0], [0.0]])


@pytest.mark.parametrize("measure", [alti, globenc])
def test_real_tokens_of_a_padded_sample_have_all(measure):
    case = model("BERT")
    found = measure(case.module, case.inputs)
    np.testing.assert_allclose(found[measure.__name__].sum("token"), 1, atol=1e-12)


class Alone(nn.Module):
    """One post-norm layer whose second norm is written out."""

    def __init__(self):
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.feed_forward = nn.Linear(8, 8)

    def forward(self, x):
        x = self.norm(x + self.attention(x, x, x)[0])
        x = x + self.feed_forward(x)
        return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)


def test_globenc_is_refused_where_a_second_norm_was_not_seen():
    x = torch.randn(2, 5, 8)
    with pytest.raises(clsight.CaptureError) as refused:
        globenc(randomize(Alone()), x)
    assert str(refused.value) == (
        "`globenc`: expected a norm behind the feed-forward part of each post-norm layer, but got none in "
        "layer `attention`: a norm that is written out may stand there. Ask for alti, which needs the norm "
        "behind attention alone."
    )
    assert alti(randomize(Alone()), x).alti.notnull().all()
