"""Attributions by name against loops over what was captured, and against value zeroing by hand."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import clsight
import reference_interventions
from clsight.faithfulness import ATTRIBUTIONS
from clsight.faithfulness.attributions import Measuring, named_measures
from hand_run_models import WIDTH, class_attention, torch_classifier


def arrays(model, names, inputs=None, sizes=(3, 7), **more):
    measures = dict.fromkeys(names) | {name: name for name in names}
    measuring = Measuring(model, inputs, **more)
    return measuring.arrays(measures, sizes, None, asked_by="compare")


def test_known_attributions_are_those_of_loops():
    model = torch_classifier(padded=True)
    found, absent = arrays(model.module, ATTRIBUTIONS, model.inputs)
    assert absent == {}
    assert list(found) == list(ATTRIBUTIONS)
    record = clsight.capture(model.module, model.inputs, keep=["rollout", "gradient"])
    weights = record.attends_to.values.astype(float)
    zeroed = reference_interventions.value_zeroing(model.case)
    for sample, token in zip(*np.nonzero(~model.case.padding), strict=True):
        cells = [(sample, 1, head, token) for head in range(4)]
        expected = {
            "attention": sum(weights[cell] for cell in cells) / 4,
            "norm_weighted": sum(weights[cell] * record.value_norm.values[cell] for cell in cells),
            "rollout": record.rollout.values[sample, token],
            "gradient_times_attention": sum(
                weights[cell] * record.attends_to_gradient.values[cell] for cell in cells
            ),
            "value_zeroing": zeroed[sample, 1, token],
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][sample, token], value, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", ATTRIBUTIONS)
def test_each_attribution_may_be_asked_for_alone(name):
    model = torch_classifier()
    found, absent = arrays(model.module, [name], model.inputs)
    assert absent == {}
    together, _ = arrays(model.module, ATTRIBUTIONS, model.inputs)
    np.testing.assert_array_equal(found[name], together[name])


def test_the_target_decides_on_gradients():
    model = torch_classifier()
    measuring = Measuring(model.module, model.inputs)
    asked = ({"g": "gradient_times_attention"}, (3, 7))
    one, other = (
        measuring.arrays(*asked, np.array(target), asked_by="compare")[0]["g"]
        for target in ([0] * 3, [1] * 3)
    )
    record = clsight.capture(model.module, model.inputs, keep="gradient", target=1)
    expected = (record.attends_to * record.attends_to_gradient).isel(layer=-1).sum("head")
    np.testing.assert_allclose(other, expected, rtol=1e-6)
    assert not np.allclose(one, other)


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
ALL = "Options: attention, gradient_times_attention, norm_weighted, rollout, value_zeroing."


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ("rolout", f"{TAKEN}'rolout'. Did you mean `rollout`? {ALL}"),
        ({"random": "rollout"}, f"{TAKEN}'random'."),
        ({"mine": 3}, f"{TAKEN}{{'mine': 'int'}}."),
        ([], "`measures`: expected one or more, but got none. Leave it out for all that are known."),
    ],
)
def test_what_is_no_measure_is_refused(measures, message):
    with pytest.raises(clsight.CaptureError) as refusal:
        named_measures(measures)
    assert str(refusal.value).startswith(message)
