"""The doctor in the app: one diagnosis per model, told for the model of the address, never in its way."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import clsight
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model
from clsight_app.catalog import Catalog
from clsight_app.pages import inspect
from doctor.patients import series


def told(components):
    return json.dumps(components, default=lambda part: part.to_plotly_json(), ensure_ascii=False)


def test_catalog_diagnoses_a_model_once(sample_paths):
    catalog = Catalog(sample_paths[:1])
    assert catalog.findings("digits-learned") is catalog.findings("digits-learned")


def test_line_is_about_the_model_of_the_address(catalog):
    assert "nothing to report" in told(inspect.findings(catalog, "?model=digits-learned&sample=3"))
    assert "is redrawn at each" in told(inspect.findings(catalog, "?model=digits-random-per-forward"))


@pytest.mark.parametrize("query", ["?model=none", "?sample=x"])
def test_line_is_empty_where_the_view_tells_an_error(catalog, query):
    assert inspect.findings(catalog, query) == []


def test_line_is_empty_for_a_model_without_examples(tmp_path):
    save_model(ClassificationTransformer(ModelConfig(classes=3, width=12, heads=3)), tmp_path / "bare")
    assert inspect.findings(Catalog([tmp_path / "bare"]), "") == []


def test_line_tells_an_error_of_a_model_whose_cls_is_an_ordinary_token(tmp_path):
    config = ModelConfig(classes=3, width=12, heads=3, strategy="first_token", max_time=9)
    save_model(ClassificationTransformer(config), tmp_path / "m", arrays={"inputs": series().numpy()})
    text = told(inspect.findings(Catalog([tmp_path / "m"]), ""))
    assert '"doctor doctor-error"' in text
    assert "an ordinary token, not a [CLS]" in text


def test_captures_beside_a_diagnosis_are_the_same_as_without(sample_paths):
    """What the doctor changes on trial never reaches a map, whichever thread comes first."""
    path = sample_paths[0]
    alone = Catalog([path])
    expected = [alone.record("digits-learned", sample).attends_to.values for sample in range(12)]
    catalog = Catalog([path])
    with ThreadPoolExecutor(3) as threads:
        diagnosis = threads.submit(catalog.findings, "digits-learned")
        records = list(threads.map(lambda sample: catalog.record("digits-learned", sample), range(12)))
        assert diagnosis.result().errors == ()
    for record, weights in zip(records, expected, strict=True):
        assert np.array_equal(record.attends_to.values, weights)
    assert clsight.load(path).module.cls_token.vector.equal(
        catalog.subject("digits-learned").cls_vector.tensor
    )
