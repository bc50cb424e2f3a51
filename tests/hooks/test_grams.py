"""The products of output projections, kept from one forward pass to the next."""

import gc

import pytest
import torch
from torch import nn

from clsight.hooks import grams
from clsight.hooks.grams import gram_of

HEADS, GROUPS, WIDTH, CHANNELS = 6, 2, 5, 17


def weight(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(CHANNELS, HEADS * WIDTH, dtype=dtype))


def expected(parameter):
    result = torch.zeros(HEADS, WIDTH, WIDTH, dtype=torch.float64)
    for head in range(HEADS):
        for i in range(WIDTH):
            for j in range(WIDTH):
                columns = parameter[:, head * WIDTH + i].double(), parameter[:, head * WIDTH + j].double()
                result[head, i, j] = (columns[0] * columns[1]).sum()
    return result.view(GROUPS, HEADS // GROUPS, WIDTH, WIDTH)


def gram(parameter, dtype=torch.float64):
    return gram_of(parameter, heads=HEADS, groups=GROUPS, dtype=dtype)


def test_gram_is_that_of_each_head():
    torch.testing.assert_close(gram(weight()), expected(weight()).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gram_of_half_precision_is_computed_in_float32(dtype):
    parameter = weight(dtype)
    found = gram(parameter, torch.float32)
    torch.testing.assert_close(found, expected(parameter).detach().float(), atol=1e-5, rtol=1e-5)


def test_gram_is_kept_as_long_as_the_weight_is():
    gc.collect()  # weights of other tests
    parameter = weight()
    assert gram(parameter) is gram(parameter)
    before = len(grams._kept)
    del parameter
    gc.collect()
    assert len(grams._kept) == before - 1


def test_gram_is_computed_again_after_a_change_that_the_fixed_vector_does_not_see():
    parameter = nn.Parameter(torch.zeros(CHANNELS, HEADS * WIDTH, dtype=torch.float64))
    assert not gram(parameter).any()
    with torch.no_grad():
        parameter[:, 0], parameter[:, 3] = 2.0, -1.0  # the vector holds 1 and 2 there
    torch.testing.assert_close(gram(parameter), expected(parameter).detach())


@pytest.mark.parametrize("change", ["in place", "through data", "other heads", "another dtype"])
def test_gram_is_computed_again_after_a_change(change):
    parameter = weight()
    first = gram(parameter)
    if change == "in place":
        with torch.no_grad():
            parameter[3, 4] += 1.0
    elif change == "through data":
        parameter.data[3, 4] += 1e-6  # leaves no mark in the version
    elif change == "other heads":
        assert gram_of(parameter, heads=HEADS, groups=HEADS, dtype=torch.float64).shape[0] == HEADS
        return
    else:
        assert gram(parameter, torch.float32).dtype == torch.float32
        return
    assert not torch.equal(gram(parameter), first)
    torch.testing.assert_close(gram(parameter), expected(parameter).detach())


def test_tensors_that_are_no_parameters_are_not_kept():
    gc.collect()  # weights of other tests
    before = len(grams._kept)
    gram(weight().detach())
    with torch.inference_mode():
        gram(nn.Parameter(torch.randn(CHANNELS, HEADS * WIDTH, dtype=torch.float64)))
    assert len(grams._kept) == before
