"""`removal_curves` against a hand-written encoder that is run for each sample and each set of tokens."""

from itertools import permutations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import clsight
import reference_faithfulness as by_hand
from clsight.faithfulness import removal_curves
from evidence_models import EVIDENCE, PLAIN, Evidence, kinds_of, sentence
from hand_run_models import MODELS, torch_classifier
from module_state import state

HIDING = [name for name in MODELS if not name.startswith("timm")]


def scores_for(case, seed=3):
    """Signed random scores with two equal ones, [sample, token]."""
    scores = np.random.default_rng(seed).normal(size=case.padding.shape)
    scores[:, 3] = scores[:, 1]
    return xr.DataArray(scores, dims=("sample", "token"))


def removable_of(case):
    removable = ~case.padding
    removable[:, case.cls] = False
    return removable


def compare_with_reference(result, case, scores, *, steps, answer, target=by_hand.predicted):
    for sample, there in enumerate(removable_of(case)):
        asked = target(case, sample)

        def answered(removed, sample=sample, asked=asked):
            return answer(case, sample, removed, asked)

        deletion, insertion, shares = by_hand.curves(answered, scores.values[sample], there, steps=steps)
        assert int(result.target[sample]) == asked
        np.testing.assert_allclose(result.deletion[sample], deletion, rtol=1e-9)
        np.testing.assert_allclose(result.insertion[sample], insertion, rtol=1e-9)
        np.testing.assert_allclose(result.removed[sample], shares, rtol=1e-15)
    assert np.ptp(result.deletion.values, axis=1).min() > 1e-5, "tokens matter"


@pytest.mark.parametrize("name", HIDING)
def test_curves_by_mask_are_those_of_a_hand_written_encoder(name):
    model = MODELS[name]()
    scores = scores_for(model.case)
    result = removal_curves(
        model.module, model.inputs, scores, cls_index=model.case.cls, by="mask", steps=4, progress=False
    )
    assert result.deletion.dims == result.insertion.dims == result.removed.dims == ("sample", "fraction")
    assert result.attrs["removal"] == "mask"
    compare_with_reference(result, model.case, scores, steps=4, answer=by_hand.hidden)


@pytest.mark.parametrize("padded", [False, True])
def test_curves_by_deletion_are_those_of_shorter_sequences(padded):
    model = torch_classifier(padded=padded)
    scores = scores_for(model.case)
    result = removal_curves(model.module, model.inputs, scores, by="deletion", steps=3, progress=False)
    compare_with_reference(result, model.case, scores, steps=3, answer=by_hand.cut_out)


@pytest.mark.parametrize("baseline", ["zero", "mean", None])
def test_curves_by_baseline_have_its_vector_in_the_place_of_tokens(baseline):
    model = torch_classifier(padded=True)
    case, scores = model.case, scores_for(model.case)

    def vector(sample):
        own = [j for j in range(case.padding.shape[1]) if removable_of(case)[sample, j]]
        mean = sum(case.entering[sample, j] for j in own) / len(own)
        return 0 * mean if baseline == "zero" else mean

    def answer(case, sample, removed, target):
        return by_hand.replaced(case, sample, removed, target, by=vector)

    result = removal_curves(
        model.module, model.inputs, scores, by="baseline", baseline=baseline, steps=3, progress=False
    )
    assert result.attrs["baseline"] == (baseline or "mean")
    compare_with_reference(result, case, scores, steps=3, answer=answer)


def test_another_id_may_stand_for_a_token():
    model = MODELS["BERT"]()
    case, embeddings = model.case, model.module.bert.embeddings
    scores, ids = scores_for(case), model.inputs["input_ids"]

    def answer(case, sample, removed, target):
        with torch.no_grad():
            changed = ids[sample].clone()
            for j in removed:
                changed[j] = 7
            states = embeddings(changed[None])[0].numpy()
        return by_hand.probability(case, states, case.padding[sample], target)

    result = removal_curves(
        model.module, model.inputs, scores, by="baseline", baseline=7, steps=3, progress=False
    )
    compare_with_reference(result, case, scores, steps=3, answer=answer)


def test_target_may_be_one_class_for_all_or_one_per_sample():
    model = torch_classifier()
    scores = scores_for(model.case)
    asked = {"by": "mask", "steps": 2, "progress": False}
    each = removal_curves(model.module, model.inputs, scores, target=[4, 0, 2], **asked)
    compare_with_reference(
        each, model.case, scores, steps=2, answer=by_hand.hidden, target=lambda _, sample: (4, 0, 2)[sample]
    )
    one = removal_curves(model.module, model.inputs, scores, target=4, **asked)
    np.testing.assert_array_equal(one.deletion[0], each.deletion[0])
    assert one.target.values.tolist() == [4, 4, 4]


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 12))
def test_curves_begin_and_end_alike_and_answer_only_to_the_order(seed, steps):
    model = torch_classifier(padded=True)
    scores = scores_for(model.case, seed)
    curves = [
        removal_curves(model.module, model.inputs, some, by="mask", steps=steps, progress=False)
        for some in (scores, np.exp(scores) * 3)  # another scale, the same order
    ]
    xr.testing.assert_identical(*curves)
    result = curves[0]
    np.testing.assert_array_equal(result.deletion[:, 0], result.insertion[:, -1])
    np.testing.assert_array_equal(result.deletion[:, -1], result.insertion[:, 0])
    assert (result.removed[:, 0] == 0).all()
    assert (result.removed[:, -1] == 1).all()
    assert (result.removed.diff("fraction") >= 0).all()
    assert ((result.deletion >= 0) & (result.deletion <= 1)).all()


def test_the_reversed_ranking_deletes_what_the_ranking_inserts():
    model = torch_classifier()
    scores = xr.DataArray(np.random.default_rng(0).normal(size=(3, 7)), dims=("sample", "token"))
    asked = {"by": "mask", "steps": 6, "progress": False}  # 6 tokens: every count is reached
    forward = removal_curves(model.module, model.inputs, scores, **asked)
    backward = removal_curves(model.module, model.inputs, -scores, **asked)
    np.testing.assert_array_equal(forward.deletion, backward.insertion[:, ::-1])


def test_padding_does_not_change_a_curve():
    long = sentence([EVIDENCE, PLAIN, 5], [PLAIN, EVIDENCE])
    alone = {name: value[1:, :3] for name, value in long.items()}
    whole, short = (
        removal_curves(
            Evidence(), inputs, some, token_kind=kinds_of(inputs), target=1, by="mask", progress=False
        )
        for inputs, some in (
            (long, xr.DataArray([[0.0, 3, 2, 1], [0, 2, 1, 9]], dims=("sample", "token"))),
            (alone, xr.DataArray([[0.0, 2, 1]], dims=("sample", "token"))),
        )
    )
    for name in ("deletion", "insertion", "removed"):
        np.testing.assert_array_equal(whole[name][1], short[name][0])


def test_answer_falls_when_all_evidence_is_gone_and_rises_with_the_first():
    inputs = sentence([PLAIN, EVIDENCE, 5, EVIDENCE, 6])
    right = xr.DataArray([[9.0, 0, 2, 0, 1, 0]], dims=("sample", "token"))
    asked = {"token_kind": kinds_of(inputs), "steps": 5, "progress": False}
    for by in ("mask", "deletion", "baseline"):
        more = {"baseline": PLAIN} if by == "baseline" else {}
        result = removal_curves(Evidence(), inputs, right, by=by, **more, **asked)
        np.testing.assert_allclose(result.deletion[0], [1, 1, 0, 0, 0, 0], atol=1e-8)
        np.testing.assert_allclose(result.insertion[0], [0, 1, 1, 1, 1, 1], atol=1e-8)
        worst = removal_curves(Evidence(), inputs, -right, by=by, **more, **asked)
        np.testing.assert_allclose(worst.deletion[0], [1, 1, 1, 1, 1, 0], atol=1e-8)
        np.testing.assert_allclose(worst.insertion[0], [0, 0, 0, 0, 1, 1], atol=1e-8)


def test_all_rankings_together_give_the_chance_value():
    orders = list(permutations(range(5)))
    inputs = sentence(*[[PLAIN, 5, EVIDENCE, 6, 7]] * len(orders))
    scores = xr.DataArray([[0.0, *order] for order in orders], dims=("sample", "token"))
    result = removal_curves(
        Evidence(), inputs, scores, token_kind=kinds_of(inputs), by="mask", steps=5, progress=False
    )
    np.testing.assert_allclose(result.deletion.mean("sample"), [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-8)
    np.testing.assert_allclose(result.insertion.mean("sample"), [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-8)


def test_a_sample_that_cannot_be_ranked_is_nan_with_its_reason():
    inputs = sentence([EVIDENCE, PLAIN], [EVIDENCE], [EVIDENCE, PLAIN], [EVIDENCE, PLAIN])
    scores = [[0, 1.0, 2], [0, 1, 0], [0, 1, 1], [0, np.nan, 1]]
    result = removal_curves(
        Evidence(), inputs, xr.DataArray(scores, dims=("sample", "token")), token_kind=kinds_of(inputs),
        by="mask", progress=False,
    )  # fmt: skip
    assert result.reason.values.tolist() == [
        "",
        "1 token may be removed: nothing to rank",
        "the attribution is the same at all 2 tokens: it ranks nothing",
        "the attribution is NaN at 1 of 2 tokens",
    ]
    for name in ("deletion", "insertion", "removed"):
        assert np.isnan(result[name]).all("fraction").values.tolist() == [False, True, True, True]


def test_one_class_is_nan_with_its_reason():
    model = torch_classifier()
    model.module.head = torch.nn.Linear(12, 1).double()
    result = removal_curves(model.module, model.inputs, scores_for(model.case), progress=False)
    assert np.isnan(result.deletion).all()
    reason = "the model has one class only: its probability is 1 whatever is removed"
    assert set(result.reason.values.tolist()) == {reason}


def test_the_model_is_left_as_it_was():
    model = torch_classifier(padded=True)
    model.module.train()
    before = state(model.module)
    inputs = {name: value.clone() for name, value in model.inputs.items()}
    for by in ("mask", "deletion", "baseline"):
        removal_curves(model.module, model.inputs, scores_for(model.case), by=by, steps=2, progress=False)
    assert state(model.module) == before
    assert all(torch.equal(inputs[name], model.inputs[name]) for name in inputs)


def test_result_says_how_it_was_made():
    model = torch_classifier()
    result = removal_curves(model.module, model.inputs, scores_for(model.case), steps=2, progress=False)
    attrs = {name: result.attrs[name] for name in ("model", "removal", "draws")}
    assert attrs == {"model": "Classifier", "removal": "mask", "draws": 1}
    assert result.deletion.attrs["units"] == "probability"
    assert result.removed.attrs["long_name"] == "share of the tokens that may be removed"
    # whole and empty, one sample without its tokens, other hidden content, and the middle of two curves
    assert result.attrs["passes"] == 2 + 1 + 1 + 2


@pytest.mark.parametrize("steps", [0, True, 2.0])
def test_a_number_of_steps_that_is_none_is_refused(steps):
    model = torch_classifier()
    with pytest.raises(clsight.CaptureError) as refusal:
        removal_curves(model.module, model.inputs, scores_for(model.case), steps=steps)
    assert str(refusal.value) == (
        f"`steps`: expected a whole number, 1 or more, but got {steps!r}. Pass steps=10 for 10 % to 100 %."
    )


def test_an_attribution_for_other_inputs_is_refused():
    model = torch_classifier()
    short = scores_for(model.case).isel(token=slice(0, 6))
    with pytest.raises(clsight.RecordError) as refusal:
        removal_curves(model.module, model.inputs, short, progress=False)
    assert str(refusal.value) == (
        "`removal_curves`: expected `attribution` of sample=3, token=7, the sequence that the encoder sees, "
        "but got sample=3, token=6. Compute it for these inputs, [CLS] and padding included."
    )
