"""Which entries belong to one sample: by sizes, by the model's layout, or refused."""

import pytest
import torch

import clsight
from clsight.interventions.relevance_samples import Samples, layout_in

SAMPLE_FIRST, TOKEN_FIRST = "sample, token", "token, sample"


def marked(shape, dim):
    """A tensor that holds the number of the sample everywhere, samples along one dimension."""
    sizes = [1] * len(shape)
    sizes[dim] = shape[dim]
    return torch.arange(shape[dim]).reshape(sizes).expand(shape).double()


@pytest.mark.parametrize(
    ("shape", "dim", "count", "tokens", "layout"),
    [
        ((3, 5, 7), 0, 3, 5, None),
        ((5, 3, 7), 1, 3, 5, None),
        ((3, 3, 7), 0, 3, 3, SAMPLE_FIRST),
        ((3, 3, 7), 1, 3, 3, TOKEN_FIRST),
        ((5, 3, 3), 1, 3, 5, TOKEN_FIRST),
        ((3, 5, 3), 0, 3, 5, SAMPLE_FIRST),
        ((3, 3), 0, 3, 5, None),  # as many classes as samples
        ((3, 3, 5, 5), 0, 3, 5, None),  # as many heads as samples
        ((1, 3, 7), 1, 3, 5, None),  # CLS alone, token first
        ((5, 5, 3, 2), 2, 3, 5, None),
    ],
)
def test_samples_are_told_apart_by_sizes_or_layout(shape, dim, count, tokens, layout):
    found = Samples(count, tokens, lambda: layout, asked_by="test").totals(marked(shape, dim))
    entries = torch.tensor(shape).prod() / count
    assert found.shape == (1, count, 1)
    torch.testing.assert_close(found.flatten(), torch.arange(count) * entries.double())


@pytest.mark.parametrize(("layout", "order"), [(SAMPLE_FIRST, (3, 5)), (TOKEN_FIRST, (5, 3))])
def test_samples_and_tokens_in_one_dimension_are_told_apart_by_layout(layout, order):
    states = marked((*order, 3), order.index(3)).reshape(15, 3)
    found = Samples(3, 5, lambda: layout, asked_by="test")
    assert found.totals(states).flatten().tolist() == [0, 15, 30]
    scaled = found.scaled(torch.ones_like(states), torch.arange(3.0)[None, :, None])
    torch.testing.assert_close(scaled, states)


def test_heads_in_one_dimension_with_samples_stand_behind_them():
    states = torch.arange(3.0).repeat_interleave(4)[:, None, None].expand(12, 5, 5)
    found = Samples(3, 5, lambda: None, asked_by="test").totals(states)
    assert found.flatten().tolist() == [0, 100, 200]


def test_one_sample_is_all_there_is_whatever_the_shape():
    assert Samples(1, 5, lambda: None, asked_by="test").totals(torch.ones(5, 2)).tolist() == [[[10]]]


@pytest.mark.parametrize("layout", [None, TOKEN_FIRST])
def test_sum_whose_samples_cannot_be_told_is_refused(layout):
    shape = (3, 3, 7) if layout is None else (9, 3, 3, 8)
    with pytest.raises(clsight.CaptureError) as refused:
        Samples(3, 9, lambda: layout, asked_by="chefer_lrp").totals(torch.ones(shape))
    assert str(refused.value) == (
        "`chefer_lrp`: expected sums that show which entries belong to one sample, but got one of shape "
        f"{shape} for 3 samples of 9 tokens. Pass one sample at a time, or one more."
    )


def test_layout_is_that_of_the_sum_that_holds_the_residual():
    states = torch.randn(3, 3, 7)
    other = [torch.randn(3, 3, 7), torch.randn(7)]
    assert layout_in([other, [states.mT.mT, other[1]]], [states]) == SAMPLE_FIRST
    assert layout_in([other, [other[0], states.transpose(0, 1)]], [states]) == TOKEN_FIRST
    assert layout_in([other], [states]) is None
