"""One run from settings to numbers: the same twice, and all that a study wants to know."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from clsight.study import RunSettings
from clsight.study.fitting import accuracy
from clsight.study.tasks import task_named
from clsight.study.training import PROBES, probed, train

OPTIONS = {"time": 6, "train": 256, "test": 64}
SETTINGS = RunSettings(
    task="retrieval", task_options=OPTIONS, width=8, heads=2, feedforward=16, layers=2, epochs=3, batch=16
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_of(settings, **asked):
    return train(settings, task_named(settings.task, settings.task_options), **asked)


@pytest.mark.parametrize("strategy", ["learned", "random_per_forward", "first_token"])
def test_two_runs_of_the_same_settings_give_identical_numbers(strategy):
    one, again = (run_of(replace(SETTINGS, strategy=strategy), probe_steps=3) for _ in range(2))
    assert one.outcome.keys() == again.outcome.keys()
    np.testing.assert_array_equal([*one.outcome.values()], [*again.outcome.values()])
    pd.testing.assert_frame_equal(one.history, again.history, check_exact=True)
    assert (one.record is None) == (strategy == "first_token")
    if one.record is not None:
        np.testing.assert_array_equal(one.record["attends_to"], again.record["attends_to"])


def test_looking_at_the_record_in_between_changes_nothing():
    for strategy in ("learned", "random_per_forward"):
        settings = replace(SETTINGS, strategy=strategy)
        with_probes, without = run_of(settings, probe_steps=12), run_of(settings)
        np.testing.assert_array_equal([*with_probes.outcome.values()], [*without.outcome.values()])


def test_record_holds_the_probe_samples_at_the_asked_steps():
    result = run_of(SETTINGS, probe_steps=4)
    assert result.record["step"].values.tolist() == [0, 1, 7, 48]
    assert result.record.sizes["sample"] == PROBES
    probe = task_named("retrieval", OPTIONS).data(0).validation
    assert result.record["label"].values.tolist() == probe.labels[:PROBES].tolist()
    rows = result.record["attends_to"].sum("token")
    np.testing.assert_allclose(rows, 1.0, rtol=1e-5)
    assert float(abs(result.record["attends_to"].diff("step")).max()) > 1e-4  # it forms


def test_steps_of_the_record_begin_before_training_and_end_with_it():
    assert [sorted(probed(50, count)) for count in (0, 1, 2, 3)] == [[], [0], [0, 50], [0, 1, 50]]
    assert len(probed(500, 12)) == 12
    assert {0, 500} <= probed(500, 12)
    assert sorted(probed(3, 12)) == [0, 1, 2, 3]


def test_choosing_a_rate_looks_at_the_validation_part_alone():
    task = task_named("retrieval", OPTIONS)
    result = train(SETTINGS, task, evaluate="validation")
    data = task.data(0)
    assert "accuracy" not in result.outcome
    assert result.outcome["validation_accuracy"] == accuracy(result.model, data.validation)
    assert run_of(SETTINGS).outcome["accuracy"] == accuracy(result.model, data.test)


def test_a_run_that_diverges_says_so_and_is_as_good_as_naming_class_0():
    result = run_of(replace(SETTINGS, learning_rate=1e30))
    assert result.diverged
    labels = task_named("retrieval", OPTIONS).data(0).test.labels
    assert result.outcome["accuracy"] == float((labels == 0).double().mean())
    assert np.isnan(result.outcome["loss"])
    assert "cls_to_cls_0" not in result.outcome
