"""Tokens are taken out in three ways, whatever form the mask has, and a model that allows none is told so."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import clsight
import reference_faithfulness as by_hand
from clsight.faithfulness import leave_one_out, removal_curves
from evidence_models import EVIDENCE, PLAIN, Evidence, kinds_of, sentence
from hand_run_models import TOKENS, bert, torch_classifier, vit

MINUS_INFINITY = float("-inf")


def expected_effects(case, way=by_hand.hidden):
    result = np.full(case.padding.shape, np.nan)
    for sample, token in zip(*np.nonzero(~case.padding), strict=True):
        target = by_hand.predicted(case, sample)
        if token != case.cls:
            result[sample, token] = way(case, sample, set(), target) - way(case, sample, {token}, target)
    return result


def refusal_of(module, inputs, **asked):
    with pytest.raises(clsight.CaptureError) as refusal:
        leave_one_out(module, inputs, progress=False, **asked)
    return str(refusal.value)


class Renamed(nn.Module):
    """A classifier whose mask has another name and sense."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier


class TakesTokenMask(Renamed):
    def forward(self, src, token_mask=None):
        return self.classifier(src, None if token_mask is None else ~token_mask)


class TakesAttentionMask(Renamed):
    def forward(self, src, attention_mask):
        additive = attention_mask.is_floating_point()
        return self.classifier(src, (attention_mask if additive else 1 - attention_mask).bool())


def additive(padding, *, least=MINUS_INFINITY):
    return torch.zeros(padding.shape, dtype=torch.float64).masked_fill(padding, least)


@pytest.mark.parametrize(
    ("wrapped", "mask"),
    [
        (None, lambda padding: {"src_key_padding_mask": padding}),
        (None, lambda padding: {"src_key_padding_mask": additive(padding)}),
        (TakesTokenMask, lambda padding: {"token_mask": ~padding}),
        (TakesAttentionMask, lambda padding: {"attention_mask": (~padding).long()}),
        (TakesAttentionMask, lambda padding: {"attention_mask": additive(padding, least=-1e9)}),
    ],
)
def test_effects_are_the_same_whatever_form_the_mask_has(wrapped, mask):
    model = torch_classifier(padded=True)
    module = wrapped(model.module) if wrapped else model.module
    inputs = {"src": model.inputs["src"], **mask(model.inputs["src_key_padding_mask"])}
    found = leave_one_out(module, inputs, by="mask", progress=False)
    np.testing.assert_allclose(found, expected_effects(model.case), rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("wrapped", [None, TakesTokenMask])
def test_a_mask_is_added_where_the_call_has_none(wrapped):
    model = torch_classifier()
    module = wrapped(model.module) if wrapped else model.module
    for inputs in (model.inputs, model.inputs["src"], (model.inputs["src"],)):
        found = leave_one_out(module, inputs, by="mask", progress=False)
        np.testing.assert_allclose(found, expected_effects(model.case), rtol=1e-7, atol=1e-14)


class AddsCls(nn.Module):
    """The classifier on tokens that begin with a [CLS] of its own; mask and input do not count it."""

    def __init__(self, classifier, cls):
        super().__init__()
        self.classifier, self.cls = classifier, nn.Parameter(cls)

    def forward(self, tokens, src_key_padding_mask=None):
        if src_key_padding_mask is not None:
            src_key_padding_mask = nn.functional.pad(src_key_padding_mask, (1, 0))
        front = self.cls.expand(len(tokens), 1, -1)
        return self.classifier(torch.cat([front, tokens], 1), src_key_padding_mask)


def test_a_cls_that_the_model_adds_is_no_token_of_the_input():
    model = torch_classifier()
    src, case = model.inputs["src"], model.case
    src[:, 0] = src[0, 0]
    case.entering = src.numpy()
    module = AddsCls(model.module, src[0, 0])
    found = leave_one_out(module, src[:, 1:], by="mask", progress=False)
    np.testing.assert_allclose(found, expected_effects(case), rtol=1e-7, atol=1e-14)
    assert refusal_of(module, src[:, 1:], by="deletion") == (
        "`AddsCls`: expected a model whose tokens can be removed by deletion, but got its input holds no "
        "token "
        "that stays, such as [CLS]: nothing would be left of it. It supports by='mask' and by='baseline'."
    )


def test_all_that_runs_along_the_sequence_is_cut():
    class Doubled(nn.Module):
        """Adds a second input along the sequence, and one that is not."""

        def __init__(self, classifier):
            super().__init__()
            self.classifier = classifier

        def forward(self, token_type_ids, src, weight, src_key_padding_mask):
            return self.classifier(src + token_type_ids[..., None], src_key_padding_mask) * weight

    model = torch_classifier(padded=True)
    types = torch.arange(3 * TOKENS).reshape(3, TOKENS) % 2
    module, inputs = (
        Doubled(model.module),
        {"token_type_ids": types, "weight": torch.tensor(1.0), **model.inputs},
    )
    model.case.entering = model.case.entering + types.numpy()[..., None]
    found = leave_one_out(module, inputs, by="deletion", progress=False)
    np.testing.assert_allclose(found, expected_effects(model.case, by_hand.cut_out), rtol=1e-7, atol=1e-14)


def test_what_is_no_content_is_not_replaced():
    model = bert()
    ids = model.inputs["input_ids"]
    inputs = {
        "attention_mask": model.inputs["attention_mask"],
        "token_type_ids": torch.zeros_like(ids),
        "input_ids": ids,
    }
    asked = {"by": "baseline", "baseline": 7, "progress": False}
    one, other = (
        leave_one_out(model.module, inputs, **asked),
        leave_one_out(model.module, model.inputs, **asked),
    )
    xr.testing.assert_allclose(one, other, rtol=1e-12)
    assert float(abs(one).max()) > 1e-3


def test_first_supported_way_is_taken():
    ways = []
    for module in (torch_classifier().module, Unmasked(torch_classifier().module)):
        scores = xr.DataArray(np.random.default_rng(0).random((3, TOKENS)), dims=("sample", "token"))
        curves = removal_curves(module, torch_classifier().inputs, scores, steps=1, progress=False)
        ways.append(curves.attrs["removal"])
    assert ways == ["mask", "deletion"]


class Unmasked(Renamed):
    def forward(self, src):
        return self.classifier(src)


def test_unknown_way_is_refused():
    model = torch_classifier()
    assert refusal_of(model.module, model.inputs, by="cut") == (
        "`by`: expected one of mask, deletion, baseline, but got 'cut'. Leave it out to choose for you."
    )


def test_a_model_without_a_mask_is_told_what_it_supports():
    model = torch_classifier()
    assert refusal_of(Unmasked(model.module), model.inputs, by="mask") == (
        "`Unmasked`: expected a model whose tokens can be removed by mask, but got its forward takes none of "
        "token_mask, attention_mask, src_key_padding_mask. It supports by='deletion' and by='baseline'."
    )


def test_a_mask_of_pairs_is_refused():
    class Pairs(Renamed):
        def forward(self, src, attention_mask):
            return self.classifier(src)

    model = torch_classifier()
    inputs = {"src": model.inputs["src"], "attention_mask": torch.ones(3, TOKENS, TOKENS)}
    assert refusal_of(Pairs(model.module), inputs, by="mask") == (
        "`Pairs`: expected a model whose tokens can be removed by mask, but got `attention_mask` of the call "
        "is "
        "not one value per sample and token. It supports by='deletion' and by='baseline'."
    )


def test_deletion_in_front_of_cls_is_refused():
    model = torch_classifier(cls=2)
    assert refusal_of(model.module, model.inputs, by="deletion", cls_index=2) == (
        "`Classifier`: expected a model whose tokens can be removed by deletion, but got tokens stand before "
        "[CLS]: without them the model would look for it at another place. It supports by='mask' and "
        "by='baseline'."
    )


@pytest.mark.parametrize(
    ("baseline", "why"),
    [
        (None, "its input is token ids: pass baseline=, the id of a neutral token such as [MASK]"),
        (True, "its input is token ids: pass baseline=, the id of a neutral token such as [MASK]"),
        ("mean", "its input is token ids: pass baseline=, the id of a neutral token such as [MASK]"),
        (12, "the baseline id 12 is not among its 12 ids"),
        (-1, "the baseline id -1 is not among its 12 ids"),
    ],
)
def test_a_baseline_that_is_no_id_is_refused(baseline, why):
    inputs = sentence([EVIDENCE, PLAIN])
    assert refusal_of(Evidence(), inputs, by="baseline", baseline=baseline) == (
        f"`Evidence`: expected a model whose tokens can be removed by baseline, but got {why}. It supports "
        "by='mask' and by='deletion'."
    )


def test_an_id_for_numbers_is_refused():
    model = torch_classifier()
    assert refusal_of(model.module, model.inputs, by="baseline", baseline=7) == (
        "`Classifier`: expected a model whose tokens can be removed by baseline, but got its input is "
        "numbers: "
        "baseline= is 'mean' or 'zero', not 7. It supports by='mask' and by='deletion'."
    )


def test_a_picture_model_in_memory_is_told_how_to_be_loaded():
    model = vit()
    where = "no argument of the call is [sample, token, ...] for its 5 tokens"
    assert refusal_of(model.module, model.inputs) == (
        "`VisionTransformer`: expected a model whose tokens can be removed by any way, but got mask: its "
        "forward "
        "takes none of token_mask, attention_mask, src_key_padding_mask; "
        f"deletion: {where}; baseline: {where}. Load it with clsight.load or clsight.subject_of, which know "
        "where "
        "its tokens stand."
    )


def test_stated_kinds_decide_what_is_removed():
    inputs = sentence([EVIDENCE, PLAIN, 5])
    kinds = kinds_of(inputs)
    kinds[0][1] = "special"
    effects = leave_one_out(Evidence(), inputs, token_kind=kinds, target=1, progress=False)
    assert np.isnan(effects).values.tolist() == [[True, True, False, False]]
    np.testing.assert_array_equal(effects[0, 2:], [0, 0])
