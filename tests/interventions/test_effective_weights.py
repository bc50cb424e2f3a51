"""Effective attention of the CLS row, against the full null space of each head's values."""

import numpy as np
import pytest
import torch
from torch import nn

import reference_decompositions as reference
from clsight import capture
from clsight.interventions import effective_attention
from decomposed_models import BUILDERS, EXTRA_KEY, minilm, model
from encoder_builders import randomize


@pytest.mark.parametrize("name", [*BUILDERS, EXTRA_KEY])
def test_effective_attention_equals_the_full_null_space(name):
    case = model(name)
    found = effective_attention(case.module, case.inputs, cls_index=case.cls_index)
    for sample, layers in enumerate(case.samples):
        real = case.mask[sample]
        for layer, pieces in enumerate(layers):
            for head, weights in enumerate(pieces.weights):
                here = found.isel(sample=sample, layer=layer, head=head)
                row = weights[case.cls_index][real]
                expected = reference.effective_row(row, pieces.outgoing[head][real])
                np.testing.assert_allclose(here.effective_attention[real], expected, atol=1e-10)
                np.testing.assert_array_equal(here.effective_attention.isnull(), ~real)
                values = pieces.outgoing[head][real]
                effective = here.effective_attention.values[real]
                np.testing.assert_allclose(effective @ values, row @ values, atol=1e-11)  # as it was
                assert here.value_rank == min(real.sum(), pieces.x.shape[1] // len(pieces.weights))


def test_effective_attention_is_attention_when_tokens_are_at_most_the_width_of_a_head():
    case = minilm()
    record = capture(case.module, case.inputs)
    assert record.sizes["token"] <= record.sizes["head_dim"]
    found = effective_attention(case.module, case.inputs)
    row = record.attends_to.where(record.token_mask)
    np.testing.assert_allclose(found.effective_attention, row, atol=1e-9)


def test_attention_differs_from_effective_attention_beyond_the_width_of_a_head():
    case = model("ViT")
    record = capture(case.module, case.inputs)
    assert record.sizes["token"] > record.sizes["head_dim"]
    found = effective_attention(case.module, case.inputs)
    assert float(abs(found.effective_attention - record.attends_to).max()) > 0.1
    assert float(found.effective_attention.min()) < 0


def test_layer_without_a_projection_is_nan_with_the_reason():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            x = x + self.first(x, x, x)[0]
            heads = x.unflatten(-1, (2, 4)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(heads, heads, heads)

    found = effective_attention(randomize(Bare()), torch.randn(2, 5, 8))
    assert found.effective_attention.isel(layer=0).notnull().all()
    assert found.effective_attention.isel(layer=1).isnull().all()
    assert found.value_rank.attrs["reason"].endswith(
        "no linear map was fed the merged heads of all tokens: a norm, a gate or an adapter may stand between"
    )
