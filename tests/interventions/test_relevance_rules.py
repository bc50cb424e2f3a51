"""Each rule of relevance, against loops over every product, by hand, and that it loses nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_relevance as reference
from clsight.interventions.relevance_rules import (
    divided,
    through_attention,
    through_pooling,
    through_product,
    through_sum,
    through_weights,
)
from clsight.interventions.relevance_samples import Samples

LINEAR = torch.nn.functional.linear


def drawn(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def samples(count=1, tokens=99):
    return Samples(count, tokens, lambda: None, asked_by="test")


def test_quotient_is_stabilized_and_zero_where_nothing_was_made():
    by = torch.tensor([2.0, -2.0, 0.0, -1e-9, float("inf")], dtype=torch.float64)
    found = divided(torch.ones(5, dtype=torch.float64), by)
    np.testing.assert_allclose(found, [1 / (2 + 1e-9), 1 / (1e-9 - 2), 0, 1e9, 0], rtol=1e-15)
    assert found.tolist()[:3] == [reference.quotient(1.0, z) for z in by.tolist()[:3]]


def test_linear_map_hands_down_by_positive_products_known_by_hand():
    features, weight = torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[4.0, -1.0, -5.0], [-1.0, 1.0, -1.0]])
    relevance = torch.tensor([[12.0, 7.0]])  # 4 + 2 of the first result; nothing positive in the second
    found = through_weights(relevance, features, weight, LINEAR)
    np.testing.assert_allclose(found, [[8.0, 4.0, 0.0]], rtol=1e-6)


def test_linear_map_equals_loops():
    relevance, features, weight = drawn(1, (4, 5), (4, 7), (5, 7))
    expected = reference.of_linear(relevance.numpy(), features.numpy(), weight.numpy())
    np.testing.assert_allclose(through_weights(relevance, features, weight, LINEAR), expected, rtol=1e-13)


def test_product_equals_loops():
    relevance, left, right = drawn(2, (4, 5), (4, 7), (7, 5))
    found = through_product(relevance, left, right, torch.matmul)
    expected = reference.of_product(relevance.numpy(), left.numpy(), right.numpy())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)


def test_sum_equals_loops_per_sample():
    relevance, left, right = drawn(3, (3, 4, 5), (3, 4, 5), (3, 4, 5))
    found = through_sum(relevance, left, right, samples(3))
    for sample in range(3):
        expected = reference.of_sum(*(one[sample].numpy() for one in (relevance, left, right)))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[sample], other, rtol=1e-10)


def test_sum_with_what_broadcasts_gathers_its_share():
    relevance, left, right = drawn(4, (1, 4, 5), (1, 4, 5), (5,))
    found = through_sum(relevance, left, right, samples())
    wide = through_sum(relevance, left, right.expand(1, 4, 5), samples())
    np.testing.assert_allclose(found[0], wide[0], rtol=1e-14)
    np.testing.assert_allclose(found[1], wide[1].sum((0, 1)), rtol=1e-14)


def test_sum_with_a_hiding_mask_leaves_all_to_what_is_hidden():
    relevance, scores = drawn(5, (1, 4), (1, 4))
    relevance[0, 2] = 0.0  # a softmax gives what is hidden no weight, and so no relevance
    mask = torch.tensor([0.0, 0.0, float("-inf"), 0.0], dtype=torch.float64)
    found, of_mask = through_sum(relevance, scores, mask, samples())
    np.testing.assert_allclose(found, relevance, rtol=1e-7)
    assert not of_mask.any()


def test_average_gives_each_what_it_added():
    features = torch.tensor([[[1.0], [2.0], [-6.0]]])
    found = through_pooling(torch.tensor([[9.0]]), features, lambda tensor: tensor.mean(1))
    np.testing.assert_allclose(found, [[[-3.0], [-6.0], [18.0]]], rtol=1e-6)


@pytest.mark.parametrize("kind", ["additive", "boolean", "none"])
def test_fused_attention_equals_loops_over_its_parts(kind):
    relevance, query, key, value, mask = drawn(
        6, (1, 2, 4, 5), (1, 2, 4, 3), (1, 2, 6, 3), (1, 2, 6, 5), (4, 6)
    )
    given = {"additive": mask, "boolean": mask > -0.5, "none": None}[kind]
    found = through_attention(relevance, (query, key, value), samples(), mask=given, scale=0.5)
    scores = 0.5 * query @ key.mT
    hidden = scores + mask if kind == "additive" else scores.masked_fill(mask <= -0.5, -torch.inf)
    weights = (scores if kind == "none" else hidden).softmax(-1)
    of_weights, of_value, expected = np.zeros((2, 4, 6)), np.zeros((2, 6, 5)), []
    for h in range(2):
        arrays = (relevance[0, h].numpy(), weights[0, h].numpy(), value[0, h].numpy())
        of_weights[h], of_value[h] = reference.of_product(*arrays)
    if kind == "additive":
        of_weights, _ = reference.of_sum(of_weights, scores[0].numpy(), mask.expand(2, 4, 6).numpy())
    for h in range(2):
        expected.append(reference.of_product(of_weights[h], query[0, h].numpy(), key[0, h].numpy().T))
    np.testing.assert_allclose(found[2][0], of_value, rtol=1e-9)
    np.testing.assert_allclose(found[0][0], [one for one, _ in expected], rtol=1e-7)
    np.testing.assert_allclose(found[1][0], [one.T for _, one in expected], rtol=1e-7)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 6))
def test_no_rule_makes_or_loses_relevance(seed, tokens, width):
    """As far as the 1e-9 in the rules is nothing beside what was made."""
    relevance, left, right, weight = drawn(seed, *[(tokens, width)] * 3, (width, width))
    sums = through_sum(relevance, left, right, samples())
    shares = [float((one * divided(relevance, left + right)).sum()) for one in (left, right)]
    if min(abs(share) for share in shares) > 1e-4:
        assert_same_total(sums, relevance)
    clear = relevance * ((left @ weight).abs() > 1e-4)
    assert_same_total(through_product(clear, left, weight, torch.matmul), clear)
    positive = left.clamp_min(0) @ weight.T.clamp_min(0) + left.clamp_max(0) @ weight.T.clamp_max(0)
    clear = relevance * (positive > 1e-4)
    assert_same_total([through_weights(clear, left, weight, LINEAR)], clear)


def assert_same_total(parts, relevance):
    scale = float(relevance.abs().sum())
    total = sum(float(part.sum()) for part in parts)
    np.testing.assert_allclose(total, float(relevance.sum()), rtol=0, atol=3e-5 * scale)


def test_sum_whose_relevance_cancels_to_nothing_hands_on_nothing():
    relevance, left = torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 2.0]])
    for part in through_sum(relevance, left, left, samples()):
        assert not part.any()
