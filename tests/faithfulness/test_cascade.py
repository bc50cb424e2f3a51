"""`randomization_cascade` against attributions by hand, and measures of which it is known what they read."""

import numpy as np
import pytest
import torch
import xarray as xr

import clsight
from clsight.faithfulness import ATTRIBUTIONS, randomization_cascade
from hand_run_models import WIDTH, class_attention, torch_classifier
from module_state import state
from reference_comparison import spearman
from reference_interventions import layer_after, nothing, numbers, softmax, torch_blocks

UNITS = ["head", "encoder.layers.1", "encoder.layers.0"]


def tokens_of(values):
    return xr.DataArray(np.asarray(values, dtype=float), dims=("sample", "token"))


def by_hand(module, src):
    """Mean over heads of what CLS attends to in the last of two layers that norm last, sample by sample."""
    first, last = torch_blocks(module.encoder)
    rows = []
    for entering in numbers(src):
        states = layer_after(first, entering, padded=[False] * len(entering), change=nothing)
        size, heads = WIDTH // last.heads, []
        for head in range(last.heads):
            part = slice(head * size, (head + 1) * size)
            query = last.wq[part] @ states[0] + last.bq[part]
            keys = [last.wk[part] @ state + last.bk[part] for state in states]
            heads.append(softmax(np.array([query @ key / np.sqrt(size) for key in keys])))
        rows.append(np.mean(heads, axis=0))
    return np.array(rows)


def test_correlations_are_those_of_attention_by_hand():
    model = torch_classifier()
    seen = []

    def attention_by_hand(module, inputs):
        seen.append(by_hand(module, inputs["src"]))
        return tokens_of(seen[-1])

    own = randomization_cascade(model.module, model.inputs, attention_by_hand, seed=2, progress=False)
    assert own.rank_correlation.dims == ("unit", "sample")
    assert own.unit.values.tolist() == UNITS
    for step in range(3):
        for sample in range(3):
            expected = spearman(seen[0][sample, 1:], seen[step + 1][sample, 1:])
            assert float(own.rank_correlation[step, sample]) == pytest.approx(expected, abs=1e-12)
    named = randomization_cascade(model.module, model.inputs, "attention", seed=2, progress=False)
    np.testing.assert_allclose(named.rank_correlation, own.rank_correlation, atol=1e-12)
    np.testing.assert_allclose(named.rank_correlation[0], 1.0, rtol=1e-15)  # attention does not read the head
    assert float(named.rank_correlation[1:].max()) < 1.0


def test_a_measure_that_reads_the_input_alone_stays_at_one():
    model = torch_classifier()

    def edges(module, inputs):
        return tokens_of(inputs["src"].abs().sum(-1))

    result = randomization_cascade(model.module, model.inputs, edges, progress=False)
    np.testing.assert_allclose(result.rank_correlation, 1.0, rtol=1e-15)
    assert result.attrs["sentence"] == (
        "For this model, edges keeps a rank correlation with itself of 1.00 with `head` random, 1.00 with "
        "`encoder.layers.1` random too, 1.00 with `encoder.layers.0` random too (mean over 3 samples; it "
        "must "
        "fall towards 0)."
    )


def test_a_measure_that_reads_the_head_falls_there():
    model = torch_classifier()

    def read_off_head(module, inputs):
        return tokens_of((inputs["src"] @ module.head.weight[0]).detach())

    result = randomization_cascade(model.module, model.inputs, read_off_head, progress=False)
    assert float(result.rank_correlation.max()) < 1.0
    np.testing.assert_array_equal(result.rank_correlation[0], result.rank_correlation[2])


def test_gradients_are_of_the_class_that_the_trained_model_predicts():
    model = torch_classifier()
    with torch.no_grad():
        predicted = model.module(**model.inputs).argmax(1)
    asked = {"measure": "gradient_times_attention", "progress": False}
    found = randomization_cascade(model.module, model.inputs, **asked)
    stated = randomization_cascade(model.module, model.inputs, target=predicted.numpy(), **asked)
    other = randomization_cascade(model.module, model.inputs, target=(predicted.numpy() + 1) % 5, **asked)
    np.testing.assert_array_equal(found.rank_correlation, stated.rank_correlation)
    assert not np.array_equal(found.rank_correlation, other.rank_correlation)
    assert float(found.rank_correlation[0].min()) < 1.0, "gradients read the head"


@pytest.mark.parametrize("measure", ["attention", "value_zeroing", "norm_weighted", "rollout"])
def test_the_model_is_left_as_it_was(measure):
    model = torch_classifier()
    model.module.train()
    before = state(model.module)
    randomization_cascade(model.module, model.inputs, measure, progress=False)
    assert state(model.module) == before


def test_the_model_is_left_as_it_was_after_an_error():
    model = torch_classifier()
    before, calls = state(model.module), []

    def breaks(module, inputs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyError("in the middle")
        return tokens_of(inputs["src"].sum(-1))

    with pytest.raises(KeyError, match="in the middle"):
        randomization_cascade(model.module, model.inputs, breaks, progress=False)
    assert state(model.module) == before


def test_an_attribution_that_ranks_nothing_is_nan_with_its_reason():
    model = torch_classifier()
    scores = model.inputs["src"].sum(-1)
    scores[0] = 1.0
    calls = []

    def sometimes_flat(module, inputs):
        calls.append(1)
        return tokens_of(scores * (0 if len(calls) == 2 else 1))

    result = randomization_cascade(model.module, model.inputs, sometimes_flat, progress=False)
    flat = "the attribution is the same at all 6 tokens: it ranks nothing"
    assert result.reason.values.tolist() == [[flat] * 3, [flat, "", ""], [flat, "", ""]]
    np.testing.assert_array_equal(np.isnan(result.rank_correlation), result.reason != "")
    assert result.attrs["sentence"].startswith(
        "For this model, sometimes_flat keeps a rank correlation with itself of no defined value with `head` "
        "random, 1.00"
    )


def test_special_tokens_do_not_count():
    model = torch_classifier()
    kinds = [["cls", "special", *["word"] * 5]] * 3
    calls = []

    def changes_special_tokens(module, inputs):
        calls.append(1)
        scores = numbers(inputs["src"]).sum(-1)
        scores[:, :2] += len(calls) * 100
        return tokens_of(scores)

    result = randomization_cascade(
        model.module, model.inputs, changes_special_tokens, token_kind=kinds, progress=False
    )
    np.testing.assert_allclose(result.rank_correlation, 1.0, rtol=1e-15)


def refusal_of(module, inputs, measure, **asked):
    with pytest.raises(clsight.CaptureError) as refusal:
        randomization_cascade(module, inputs, measure, progress=False, **asked)
    return str(refusal.value)


def test_an_array_is_refused():
    model = torch_classifier()
    assert refusal_of(model.module, model.inputs, tokens_of([[1, 2]])) == (
        "`measure`: expected the name of a known attribution, or a function of model and inputs, but got a "
        f"DataArray. Choose one of {', '.join(ATTRIBUTIONS)}."
    )


def test_a_measure_that_the_model_has_not_is_refused():
    inputs = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    message = refusal_of(class_attention(), inputs, "value_zeroing")
    assert message.startswith(
        "`randomization_cascade`: expected a model that gives value zeroing, but got `ClassAttention`: "
    )
    assert message.endswith(" Choose another measure, or give a function of model and inputs.")


def test_gradients_without_logits_are_refused():
    model = torch_classifier()
    assert refusal_of(model.module.encoder, model.inputs, "gradient_times_attention") == (
        "`gradient`: expected logits to differentiate, but got an output without them. Pass output=, a "
        "function "
        "from the model's output to its logits."
    )


def test_an_unknown_name_is_refused():
    model = torch_classifier()
    assert refusal_of(model.module, model.inputs, "atention") == (
        "`measures`: expected names of known attributions, or a mapping from your own names to them, to "
        "arrays "
        "[sample, token] or to functions of model and inputs; random and evidence are taken, but got "
        "'atention'. "
        f"Did you mean `attention`? Options: {', '.join(sorted(ATTRIBUTIONS))}."
    )
