"""Tags on tensors follow explicit attention and forget with the tensors."""

import gc

import pytest
import torch

from clsight.hooks.tags import Product, Tags, matrix_product, plan_einsum


def product():
    return Product(torch.zeros(2, 3, 4), torch.zeros(2, 5, 4))


def test_tag_is_carried_by_a_change_that_keeps_the_matrix():
    tags, scores = Tags(), torch.zeros(2, 3, 5)
    tags.set(scores, product())
    scaled = scores * 2
    tags.carry((scores, 2), scaled)
    assert tags.get(scaled) is tags.get(scores)


@pytest.mark.parametrize(
    "change", [lambda s: s[:1], lambda s: s.mT, lambda s: s.flatten(), lambda s: s.sum()]
)
def test_tag_is_not_carried_to_another_matrix(change):
    tags, scores = Tags(), torch.zeros(2, 3, 5)
    tags.set(scores, product())
    changed = change(scores)
    tags.carry((scores,), changed)
    assert tags.get(changed) is None


def test_tag_is_forgotten_with_its_tensor():
    tags = Tags()
    tags.set(torch.zeros(2, 3, 5), product())
    gc.collect()
    assert not tags.entries


def test_matrix_product_needs_a_batch():
    assert matrix_product(torch.zeros(3, 4), torch.zeros(4, 5)) is None
    tag = matrix_product(torch.zeros(2, 3, 4), torch.zeros(2, 4, 5))
    assert tag is not None
    assert tag.right.shape == (2, 5, 4)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhid,bhjd->bhij", ((2, 3, 4, 5), (2, 3, 6, 5))),
        ("b i h d, b j h d -> b h i j", ((2, 4, 3, 5), (2, 6, 3, 5))),
        ("bhij,bhjd->bihd", ((2, 3, 4, 6), (2, 3, 6, 5))),
        ("bhij,bjhd->bihd", ((2, 3, 4, 6), (2, 6, 3, 5))),
    ],
)
def test_einsum_plan_is_the_same_product(equation, shapes):
    left, right = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    plan = plan_einsum(equation)
    assert plan is not None
    expected = torch.einsum(equation, left, right).permute(plan.result)
    torch.testing.assert_close(left.permute(plan.left) @ right.permute(plan.right).mT, expected)


@pytest.mark.parametrize(
    "equation",
    ["ij,jk->ik", "bij,bjk", "...id,...jd->...ij", "bhid,bhid->bhi", "bid,bjd,bkd->bijk", "bid,jd->bij"],
)
def test_einsum_that_is_no_batched_product_has_no_plan(equation):
    assert plan_einsum(equation) is None
