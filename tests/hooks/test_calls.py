"""What a call states about its tokens, and how masks and logits are found."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from clsight.errors import CaptureError
from clsight.hooks.calls import find_logits, fit_token_mask, stated_token_mask


class Model(nn.Module):
    def forward(self, x, attention_mask=None, src_key_padding_mask=None, **kwargs):
        return x


REAL = torch.tensor([[1, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {"attention_mask": REAL}),
        ((REAL,), {}),
        ((), {"src_key_padding_mask": REAL == 0}),
        ((), {"src_key_padding_mask": torch.zeros(2, 3).masked_fill(REAL == 0, -torch.inf)}),
        ((), {"token_mask": REAL.bool()}),
    ],
)
def test_stated_mask_is_true_for_real_tokens(args, kwargs):
    mask = stated_token_mask(Model(), (torch.zeros(2, 3, 4), *args), kwargs)
    np.testing.assert_array_equal(mask, REAL.bool())


def test_no_mask_is_stated_without_one():
    assert stated_token_mask(Model(), (torch.zeros(2, 3, 4),), {}) is None
    assert (
        stated_token_mask(Model(), (torch.zeros(2, 3, 4),), {"attention_mask": torch.ones(2, 1, 3, 3)})
        is None
    )


@pytest.mark.parametrize(
    ("cls_index", "expected"),
    [(0, [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]), (4, [[1, 1, 1, 1, 1], [1, 0, 0, 1, 1]])],
)
def test_tokens_that_the_model_adds_are_real_on_the_side_of_cls(cls_index, expected):
    mask = fit_token_mask(REAL.bool(), samples=2, tokens=5, cls_index=torch.tensor([cls_index] * 2))
    np.testing.assert_array_equal(mask.int(), expected)


@pytest.mark.parametrize(("samples", "tokens", "cls_index"), [(2, 2, 0), (3, 3, 0), (2, 5, 2)])
def test_mask_that_fits_nowhere_is_refused(samples, tokens, cls_index):
    with pytest.raises(CaptureError, match=r"`token_mask`: expected shape \(sample="):
        fit_token_mask(
            REAL.bool(), samples=samples, tokens=tokens, cls_index=torch.tensor([cls_index] * samples)
        )


LOGITS = torch.randn(2, 5)


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, torch.zeros(2, 3, 4)),
        {"logits": LOGITS, "pooled": torch.zeros(2, 4)},
        SimpleNamespace(logits=LOGITS, pooled=torch.zeros(2, 4)),
        {"scores": LOGITS, "hidden": torch.zeros(2, 3, 4)},
    ],
)
def test_logits_are_found_by_the_stated_rule(output):
    logits, reason = find_logits(output, 2)
    assert reason == ""
    assert torch.equal(logits, LOGITS)


@pytest.mark.parametrize("output", [torch.zeros(2, 3, 4), (LOGITS, LOGITS), "text", None])
def test_logits_are_absent_with_a_reason(output):
    logits, reason = find_logits(output, 2)
    assert logits is None
    assert "tensors of shape [sample, class], where one is expected" in reason
