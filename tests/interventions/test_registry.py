"""The list of interventions says of each what it does."""

import pytest

from clsight import interventions
from clsight.interventions import INTERVENTIONS
from hand_run_models import torch_classifier


def test_interventions_are_listed():
    assert set(INTERVENTIONS) == set(interventions.__all__) - {"INTERVENTIONS"}


@pytest.mark.parametrize("name", list(INTERVENTIONS))
def test_intervention_describes_itself(name):
    described = INTERVENTIONS[name]
    assert getattr(interventions, name) is described.function
    assert described.question.endswith("?")
    assert described.definition.endswith(".")
    assert described.range
    assert "pass" in described.cost
    assert "arXiv" in described.paper or "https://" in described.paper
    assert described.trust.endswith(".")


@pytest.mark.parametrize("name", ["knockout", "value_zeroing"])
def test_result_has_the_dims_that_are_listed(name):
    model = torch_classifier()
    result = INTERVENTIONS[name].function(model.module, model.inputs, progress=False)
    result = result.drop_vars("token_mask", errors="ignore")
    assert all(array.dims == INTERVENTIONS[name].dims for array in result.data_vars.values())
    assert all(array.attrs["long_name"] for array in result.data_vars.values())
