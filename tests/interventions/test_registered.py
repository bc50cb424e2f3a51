"""What the list of interventions says of the decompositions is what they do, on modules and subjects."""

import copy

import numpy as np
import pytest

import clsight
from clsight import interventions
from clsight.interventions import INTERVENTIONS
from decomposed_models import minilm, model
from trained_encoder import trained_bert

OF_A_CLASSIFIER = ["chefer", "chefer_lrp", "direct_logit_attribution", "integrated_gradients", "logit_lens"]
OF_AN_ENCODER = [
    "alti",
    "attention_flow",
    "effective_attention",
    "globenc",
    "norm_weighted_residual",
    "query_decomposition",
]
MAIN = {"direct_logit_attribution": "attention", "query_decomposition": "share"}


@pytest.mark.parametrize("name", [*OF_A_CLASSIFIER, *OF_AN_ENCODER])
def test_description_is_what_the_function_does(name):
    described, case = INTERVENTIONS[name], model("BERT")
    assert getattr(interventions, name) is described.function
    assert described.question.endswith("?")
    assert described.trust.endswith(".")
    assert described.cost
    assert described.paper
    found = described.function(case.module, case.inputs)
    if "token" in found.dims:
        np.testing.assert_array_equal(found.token_mask, case.mask)
    main = found[MAIN.get(name, name)]
    assert main.dims == described.dims
    assert main.attrs["units"] == described.unit
    assert main.attrs["long_name"]
    assert found.attrs["model"] == "BertForSequenceClassification"
    assert found.attrs["cls_index"] == 0


@pytest.mark.parametrize("name", [*OF_A_CLASSIFIER, *OF_AN_ENCODER])
def test_subject_gives_its_tokens_and_its_own_position(name):
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    examples = subject.examples[:3]
    found = INTERVENTIONS[name].function(subject, examples)
    record = clsight.capture(subject, examples)
    assert found.attrs["model"] == subject.name
    if "token" in found.dims:
        np.testing.assert_array_equal(found.token_kind, record.token_kind)
        record.assign(**{name: found[MAIN.get(name, name)]})  # fits beside the record's own variables


def test_results_in_float32_are_close_to_those_in_float64():
    case, (module, inputs) = minilm(), trained_bert()
    for name in OF_AN_ENCODER:
        exact = INTERVENTIONS[name].function(case.module, case.inputs)[MAIN.get(name, name)]
        found = INTERVENTIONS[name].function(module, inputs)[MAIN.get(name, name)]
        np.testing.assert_allclose(found, exact, rtol=1e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("name", [*OF_A_CLASSIFIER, *OF_AN_ENCODER])
def test_results_in_bfloat16_are_finite(name):
    module = copy.deepcopy(model("BERT").module).bfloat16()
    found = INTERVENTIONS[name].function(module, model("BERT").inputs)[MAIN.get(name, name)]
    assert np.isfinite(found.isel(token=slice(0, 4)) if "token" in found.dims else found).all()


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_padding_is_nan_in_every_variable_and_the_result_tells_where_it_is(name):
    case = model("BERT")
    options = {"progress": False} if name in ("knockout", "value_zeroing") else {}
    found = INTERVENTIONS[name].function(case.module, case.inputs, **options)
    of_tokens = [array for array in found.data_vars.values() if "token" in array.dims]
    assert ("token_mask" in found) == bool(of_tokens)
    for array in of_tokens:
        if array.name != "token_mask":
            undefined = array.isnull().transpose("sample", "token", ...).values
            assert undefined[~case.mask].all(), array.name
            assert not undefined[case.mask].any(), array.name


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_result_becomes_part_of_the_record_and_is_saved_with_it(name, tmp_path):
    case = model("BERT")
    record = clsight.capture(case.module, case.inputs)
    options = {"progress": False} if name in ("knockout", "value_zeroing") else {}
    found = INTERVENTIONS[name].function(case.module, case.inputs, **options)
    joined = record.assign(found.data_vars)
    assert set(joined.data_vars) == set(record.data_vars) | set(found.data_vars)
    clsight.save_record(joined, tmp_path / "record.zarr.zip")
    opened = clsight.open_record(tmp_path / "record.zarr.zip")
    for variable in joined.data_vars:
        np.testing.assert_array_equal(opened[variable], joined[variable])
