"""`leave_one_out` against a hand-written encoder, and Kendall's τ-b against all pairs of tokens."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import clsight
import reference_faithfulness as by_hand
from clsight.faithfulness import leave_one_out, leave_one_out_tau
from evidence_models import EVIDENCE, PLAIN, Evidence, kinds_of, sentence
from hand_run_models import MODELS, torch_classifier


def array(values, **coords):
    return xr.DataArray(np.array(values, dtype=float), dims=("sample", "token"), coords=coords)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("torch, padded", "mask"),
        ("torch, padded", "deletion"),
        ("torch, norm first", "mask"),
        ("torch, norm first", "deletion"),
        ("torch, padded, CLS at 2", "mask"),
        ("BERT", "mask"),  # by deletion its positions move up
    ],
)
def test_effects_are_those_of_a_hand_written_encoder(name, way):
    model = MODELS[name]()
    case = model.case
    result = leave_one_out(model.module, model.inputs, cls_index=case.cls, by=way, progress=False)
    assert result.dims == ("sample", "token")
    answer = by_hand.hidden if way == "mask" else by_hand.cut_out
    for sample in range(len(case.entering)):
        target = by_hand.predicted(case, sample)
        whole = answer(case, sample, set(), target)
        for token in range(case.padding.shape[1]):
            found = float(result[sample, token])
            if token == case.cls or case.padding[sample, token]:
                assert np.isnan(found)
                continue
            expected = whole - answer(case, sample, {token}, target)
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-14)
    assert float(abs(result).max()) > 1e-4


def test_only_a_token_without_a_double_has_an_effect():
    inputs = sentence([PLAIN, EVIDENCE, 5], [EVIDENCE, PLAIN, EVIDENCE])
    effects = leave_one_out(Evidence(), inputs, token_kind=kinds_of(inputs), target=1, progress=False)
    np.testing.assert_allclose(effects[0, 1:], [0, 1, 0], atol=1e-8)
    np.testing.assert_array_equal(effects[1, 1:], [0, 0, 0])
    assert np.isnan(effects[:, 0]).all()
    assert effects.token_kind.values[0].tolist() == ["cls", "word", "word", "word"]
    tau = leave_one_out_tau(array([[0, 1, 2, 1], [0, 1, 2, 3]]), effects)
    np.testing.assert_allclose(tau, [1.0, np.nan])
    assert tau.reason.values.tolist() == [
        "",
        "leaving out one token has the same effect for all 3 tokens: there is no order to agree with",
    ]


def test_one_class_has_no_effects():
    model = torch_classifier()
    model.module.head = torch.nn.Linear(12, 1).double()
    effects = leave_one_out(model.module, model.inputs, progress=False)
    assert np.isnan(effects).all()
    reason = "the model has one class only: its probability is 1 whatever is removed"
    assert set(effects.reason.values.tolist()) == {reason}
    tau = leave_one_out_tau(array(np.arange(21).reshape(3, 7)), effects)
    assert np.isnan(tau).all()
    assert set(tau.reason.values.tolist()) == {reason}


few = st.integers(-3, 3)


@given(pairs=st.lists(st.tuples(few, few), min_size=2, max_size=12))
def test_tau_is_that_of_all_pairs(pairs):
    scores, effects = zip(*pairs, strict=True)
    if len(set(scores)) == 1 or len(set(effects)) == 1:
        return
    tau = leave_one_out_tau(array([[9, *scores]]), array([[np.nan, *effects]]))
    np.testing.assert_allclose(tau, [by_hand.tau_b(scores, effects)], rtol=1e-12, atol=1e-15)


def test_tau_of_a_random_ranking_is_zero_on_average():
    generator = np.random.default_rng(0)
    scores = generator.random((4000, 6))
    effects = np.tile(generator.random(6), (4000, 1))
    tau = leave_one_out_tau(array(scores), array(effects))
    # variance of τ of n = 6 under independence: 2(2n + 5) / 9n(n − 1)
    assert abs(float(tau.mean())) < 4 * np.sqrt(2 * 17 / (9 * 6 * 5) / 4000)


def test_tau_of_effects_turned_around_is_minus_one():
    effects = array([[np.nan, 0.3, 0.1, 0.2]])
    assert float(leave_one_out_tau(-effects.fillna(0), effects)[0]) == -1.0


def test_tau_of_an_attribution_that_ranks_nothing_is_nan():
    effects = array([[np.nan, 0.3, 0.1], [np.nan, 0.3, np.nan]])
    tau = leave_one_out_tau(array([[5, 1, 1], [5, 1, 2]]), effects)
    assert np.isnan(tau).all()
    assert tau.reason.values.tolist() == [
        "the attribution is the same at all 2 tokens: it ranks nothing",
        "1 token may be removed: nothing to rank",
    ]


def test_tau_of_other_tokens_is_refused():
    with pytest.raises(clsight.RecordError) as refusal:
        leave_one_out_tau(array([[1, 2, 3]]), array([[1, 2]]))
    assert str(refusal.value) == (
        "`leave_one_out_tau`: expected an attribution of sample=1, token=2, as the effects, but got "
        "sample=1, token=3. Compute both for the same inputs."
    )
