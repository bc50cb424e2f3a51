"""Attributions by name against loops over what was captured, and against value zeroing by hand."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import clsight
import reference_interventions
from clsight import interventions
from clsight.faithfulness import ATTRIBUTIONS
from clsight.faithfulness.attributions import named_measures
from clsight.faithfulness.measuring import Measuring
from hand_run_models import WIDTH, class_attention, torch_classifier


def arrays(model, names, inputs=None, sizes=(3, 7), **more):
    measures = dict.fromkeys(names) | {name: name for name in names}
    measuring = Measuring(model, inputs, **more)
    return measuring.arrays(measures, sizes, None, asked_by="compare")


def test_what_a_record_gives_is_that_of_loops():
    model = torch_classifier(padded=True)
    found, absent = arrays(model.module, ATTRIBUTIONS, model.inputs)
    assert absent == {}
    assert list(found) == list(ATTRIBUTIONS)
    record = clsight.capture(model.module, model.inputs, keep=["rollout", "gradient", "contributions"])
    weights = record.attends_to.values.astype(float)
    for sample, token in zip(*np.nonzero(~model.case.padding), strict=True):
        cells = [(sample, 1, head, token) for head in range(4)]
        expected = {
            "attention": sum(weights[cell] for cell in cells) / 4,
            "norm_weighted": sum(weights[cell] * record.value_norm.values[cell] for cell in cells),
            "contribution": record.contribution_norm.values[sample, 1, token],
            "rollout": record.rollout.values[sample, token],
            "gradient_times_attention": sum(
                weights[cell] * record.attends_to_gradient.values[cell] for cell in cells
            ),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][sample, token], value, rtol=1e-6, atol=1e-12)


def test_what_an_intervention_gives_is_of_the_last_layer_or_of_all():
    """Each intervention has its own slow reference; here only which part of its result is taken."""
    model = torch_classifier(padded=True)
    found, _ = arrays(model.module, ATTRIBUTIONS, model.inputs)
    zeroed = reference_interventions.value_zeroing(model.case)[:, 1]
    real = ~model.case.padding
    np.testing.assert_allclose(found["value_zeroing"][real], zeroed[real], rtol=1e-6, atol=1e-12)
    given = {name: getattr(interventions, name)(model.module, model.inputs) for name in OF_INTERVENTIONS}
    through_all = ("rollout", "attention_flow", "alti", "globenc", "chefer", "chefer_lrp")
    for name in (*through_all, "integrated_gradients"):
        if name in given:
            np.testing.assert_array_equal(found[name], given[name][name])
    last = given["norm_weighted_residual"]["norm_weighted_residual"][:, 1]
    np.testing.assert_array_equal(found["norm_weighted_residual"], last)
    effective = given["effective_attention"]["effective_attention"].values
    np.testing.assert_allclose(found["effective_attention"][real], effective[:, 1].mean(1)[real], rtol=1e-9)
    direct = given["direct_logit_attribution"]["attention"].values
    np.testing.assert_allclose(
        found["direct_logit_attribution"][real], direct.sum((1, 2))[real], rtol=1e-9, atol=1e-15
    )


OF_INTERVENTIONS = [
    name for name, one in ATTRIBUTIONS.items() if one.intervention and name != "value_zeroing"
]


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_each_attribution_may_be_asked_for_alone(name):
    model = torch_classifier()
    found, absent = arrays(model.module, [name], model.inputs)
    assert absent == {}
    together, _ = arrays(model.module, ATTRIBUTIONS, model.inputs)
    np.testing.assert_array_equal(found[name], together[name])


OF_TARGET = [
    "gradient_times_attention",
    "chefer",
    "chefer_lrp",
    "direct_logit_attribution",
    "integrated_gradients",
]


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_the_target_decides_on_what_explains_a_class_and_on_nothing_else(name):
    model = torch_classifier()
    measuring = Measuring(model.module, model.inputs)
    one, other = (
        measuring.arrays({"a": name}, (3, 7), np.array(target), asked_by="compare")[0]["a"]
        for target in ([0] * 3, [1] * 3)
    )
    assert np.allclose(one, other) == (name not in OF_TARGET)
    assert ATTRIBUTIONS[name].is_of_target == (name in OF_TARGET)


def test_the_target_of_each_sample_is_its_own():
    model = torch_classifier()
    measuring = Measuring(model.module, model.inputs)
    asked = (dict(zip(OF_TARGET, OF_TARGET, strict=True)), (3, 7))
    mixed, _ = measuring.arrays(*asked, np.array([0, 1, 2]), asked_by="compare")
    for place in range(3):
        alike, _ = measuring.arrays(*asked, np.array([place] * 3), asked_by="compare")
        for name in OF_TARGET:
            np.testing.assert_allclose(mixed[name][place], alike[name][place], rtol=1e-9, atol=1e-12)


class DrawsCls(nn.Module):
    """A classifier that draws its CLS at each forward."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, src):
        return self.classifier(torch.cat([torch.randn_like(src[:, :1]), src], dim=1))


def test_interventions_are_means_over_the_same_draws_as_the_answers():
    model, src = DrawsCls(torch_classifier().module), torch_classifier().inputs["src"]
    asked = {"draws": 3, "seed": 7}
    found, _ = arrays(model, ["alti", "value_zeroing"], src, (3, 8), **asked)
    alti = interventions.alti(model, src, **asked)
    np.testing.assert_array_equal(found["alti"], alti.alti)
    assert float(alti.alti_std.max()) > 1e-3
    zeroed = interventions.value_zeroing(model, src, layers=-1, progress=False, **asked)
    np.testing.assert_array_equal(found["value_zeroing"], zeroed.value_zeroing[:, 0])
    effects = clsight.faithfulness.compare(model, src, ["alti"], metrics="leave_one_out_tau", **asked)
    again = clsight.faithfulness.compare(
        model, src, {"alti": alti.alti}, metrics="leave_one_out_tau", **asked
    )
    np.testing.assert_array_equal(effects.estimate[0], again.estimate[0])


def test_many_passes_are_made_only_where_they_are_named():
    few = list(named_measures(None))
    assert sorted(set(ATTRIBUTIONS) - set(few)) == ["attention_flow", "integrated_gradients"]
    assert list(named_measures(["attention_flow"])) == ["attention_flow"]


def test_what_a_model_has_not_is_absent_with_the_reason():
    inputs = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    found, absent = arrays(class_attention(), ["attention", "value_zeroing"], inputs, (2, 5))
    assert list(found) == ["attention"]
    with pytest.raises(clsight.CaptureError) as refusal:
        clsight.interventions.value_zeroing(class_attention(), inputs, layers=-1, progress=False)
    assert absent == {"value_zeroing": str(refusal.value)}

    class Gated(nn.Module):
        """Between attention and the output there is no plain projection."""

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(WIDTH, 2)

        def forward(self, x):
            x = x.unflatten(-1, (3, -1)).transpose(1, 2)
            mixed = nn.functional.scaled_dot_product_attention(x, x, x).transpose(1, 2).flatten(2)
            return self.head(mixed.tanh()[:, 0])

    found, absent = arrays(Gated(), ["norm_weighted"], inputs.float(), (2, 5))
    assert found == {}
    assert absent["norm_weighted"].startswith("the record has no `value_norm`: ")


def test_functions_and_arrays_are_taken_as_they_are():
    model = torch_classifier()
    own = xr.DataArray(np.arange(21).reshape(7, 3), dims=("token", "sample"))

    def function(module, inputs):
        assert module is model.module
        assert inputs is model.inputs
        return own + 1

    measuring = Measuring(model.module, model.inputs)
    found, absent = measuring.arrays({"a": own, "b": function}, (3, 7), None, asked_by="compare")
    np.testing.assert_array_equal(found["a"], own.T)
    np.testing.assert_array_equal(found["b"], own.T + 1)
    assert absent == {}


TAKEN = (
    "`measures`: expected names of known attributions, or a mapping from your own names to them, to arrays "
    "[sample, token] or to functions of model and inputs; random and evidence are taken, but got "
)
ALL = f"Options: {', '.join(sorted(ATTRIBUTIONS))}."


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ("rolout", f"{TAKEN}'rolout'. Did you mean `rollout`? {ALL}"),
        ({"random": "rollout"}, f"{TAKEN}'random'."),
        ({"mine": 3}, f"{TAKEN}{{'mine': 'int'}}."),
        ([], "`measures`: expected one or more, but got none. Leave it out for the usual ones."),
    ],
)
def test_what_is_no_measure_is_refused(measures, message):
    with pytest.raises(clsight.CaptureError) as refusal:
        named_measures(measures)
    assert str(refusal.value).startswith(message)
