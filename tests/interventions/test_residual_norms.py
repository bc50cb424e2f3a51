"""Norms with residual and LayerNorm, against loops over tokens and heads."""

import numpy as np
import pytest

import reference_decompositions as reference
from clsight.interventions import norm_weighted_residual
from clsight.interventions.opening import open_model
from clsight.interventions.sublayer import at_cls
from decomposed_models import BUILDERS, EXTRA_KEY, minilm, model, without_padding


@pytest.mark.parametrize("name", [*BUILDERS, EXTRA_KEY])
def test_norms_and_mixing_ratio_equal_loops(name):
    case = model(name)
    found = norm_weighted_residual(case.module, case.inputs, cls_index=case.cls_index)
    assert found.norm_weighted_residual.dims == ("sample", "layer", "token")
    for sample, layers in enumerate(case.samples):
        for layer, (block, pieces) in enumerate(zip(case.blocks, layers, strict=True)):
            expected = reference.contribution_norms(block, pieces, case.cls_index)
            here = found.isel(sample=sample, layer=layer)
            assert not expected[~case.mask[sample]].any()
            held = without_padding(expected, case.mask[sample])
            np.testing.assert_allclose(here.norm_weighted_residual, held, rtol=1e-11, atol=1e-12)
            ratio = reference.mixing_ratio(block, pieces, case.cls_index)
            np.testing.assert_allclose(here.mixing_ratio, ratio, rtol=1e-10)


@pytest.mark.parametrize("name", [*BUILDERS, EXTRA_KEY])
def test_contributions_sum_to_the_stream_behind_attention(name):
    case = model(name)
    opened = open_model(case.module, case.inputs, cls_index=case.cls_index)
    for layer, parts in enumerate(opened.layers):
        found = at_cls(parts, opened.position)
        total = (found.vectors.sum(-2) + found.biases)[:, 0].numpy()
        expected = [layers[layer].after_1[case.cls_index] for layers in case.samples]
        np.testing.assert_allclose(total, expected, atol=1e-12)


def test_mixing_ratio_of_the_trained_model_is_that_of_the_published_measurement():
    """Mixing of CLS in MiniLM was measured as .405, .014, .009, .036, .019, .269 on four other texts."""
    case = minilm()
    found = norm_weighted_residual(case.module, case.inputs)
    expected = [
        [reference.mixing_ratio(block, pieces, 0) for block, pieces in zip(case.blocks, layers, strict=True)]
        for layers in case.samples
    ]
    np.testing.assert_allclose(found.mixing_ratio, expected, rtol=1e-9)
    published = [0.405, 0.014, 0.009, 0.036, 0.019, 0.269]
    np.testing.assert_allclose(found.mixing_ratio.mean("sample"), published, atol=0.03)  # of other texts
