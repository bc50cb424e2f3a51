"""Attention flow, against the exact maximum flow of networkx."""

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clsight
from clsight.interventions import attention_flow
from clsight.interventions.flows import flows_down
from decomposed_models import model


def exact_flows(capacities, source):
    """Return the maximum flow from one token above to each below, with floating-point capacities."""
    graph = networkx.DiGraph()
    for layer, matrix in enumerate(capacities):
        for upper, lower in np.ndindex(matrix.shape):
            graph.add_edge((layer + 1, upper), (layer, lower), capacity=matrix[upper, lower])
    top = (len(capacities), source)
    return np.array(
        [networkx.maximum_flow_value(graph, top, (0, token)) for token in range(len(capacities[0]))]
    )


@pytest.mark.parametrize("name", ["torch, post-norm", "torch, pre-norm, CLS second", "BERT, eager"])
def test_flow_equals_networkx(name):
    case = model(name)
    found = attention_flow(case.module, case.inputs, cls_index=case.cls_index)
    assert found.attrs["rounding_bound"] < 1e-6
    for sample, layers in enumerate(case.samples):
        real = case.mask[sample]
        capacities = [
            0.5 * (pieces.weights.mean(0)[np.ix_(real, real)] + np.eye(real.sum())) for pieces in layers
        ]
        expected = np.full(len(real), np.nan)
        expected[real] = exact_flows(capacities, case.cls_index)
        here = found.isel(sample=sample)
        np.testing.assert_allclose(here.largest_flow, expected, atol=found.attrs["rounding_bound"])
        np.testing.assert_allclose(here.attention_flow, expected / np.nansum(expected), atol=1e-6)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_flow_equals_networkx_on_random_weights(tokens, layers, seed):
    draw = np.random.default_rng(seed)
    weights = draw.dirichlet(np.full(tokens, 0.3), (layers, tokens))
    capacities = [0.5 * (matrix + np.eye(tokens)) for matrix in weights]
    source = int(draw.integers(tokens))
    np.testing.assert_allclose(flows_down(capacities, source), exact_flows(capacities, source), atol=1e-7)


def test_flow_through_the_identity_stays_at_its_token():
    np.testing.assert_array_equal(flows_down([np.eye(4)] * 3, 2), [0, 0, 1, 0])


def test_flow_is_bounded_by_the_narrowest_place():
    wide, narrow = np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([[0.25, 0.0], [0.125, 0.5]])
    np.testing.assert_allclose(flows_down([narrow, wide], 0), [0.375, 0.5], atol=1e-9)


def test_long_sequences_are_refused():
    case = model("torch, post-norm")
    with pytest.raises(clsight.CaptureError, match=r"expected at most 4 tokens.*but got 9"):
        attention_flow(case.module, case.inputs, max_tokens=4)
