"""Curves and maps of a real small study: the numbers in its files, averaged the slow way."""

import csv

import numpy as np
import pytest

import clsight
from clsight.study.contrasts import conditions_of
from clsight.study.engines import LocalEngine
from clsight.study.results import results_of
from clsight.study.running import run_study
from clsight.study.store import Store
from clsight.study.study_curves import depth_curves, even_share, probe_maps, training_curves
from study.made_runs import SMALL, small_study

pytestmark = pytest.mark.slow
UNTUNED = SMALL.replace("[tuning]\nlearning_rate = [0.001, 0.01]\nseeds = 1", "").replace(
    "layers = 1", "layers = 2"
)


@pytest.fixture(scope="module")
def condition(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("study") / "small")
    run_study(small_study(UNTUNED), store, LocalEngine(1), progress=False)
    (found,) = conditions_of(results_of(store))
    return found


def test_training_curve_is_the_mean_of_the_histories(condition):
    means = training_curves(condition, "accuracy")
    for arm in condition.arms:
        tables = [list(csv.DictReader(run.history.read_text().splitlines())) for run in arm.runs.values()]
        for place, row in enumerate(tables[0]):
            mean = sum(float(table[place]["accuracy"]) for table in tables) / len(tables)
            shown = means["estimate"].sel(arm=arm.strategy_label, step=int(row["step"]))
            assert float(shown) == pytest.approx(mean, abs=1e-12)


def test_drift_is_drawn_for_arms_with_a_vector_of_their_own(condition):
    means = training_curves(condition, "drift")
    assert float(means["estimate"].sel(arm="learned").isel(step=-1)) > 0


def test_depth_curve_is_the_mean_of_the_outcomes_of_each_layer(condition):
    means = depth_curves(condition, "others_to_cls")
    assert means["layer"].values.tolist() == [0, 1]
    for arm in condition.arms:
        for layer in (0, 1):
            values = [run.outcome[f"others_to_cls_{layer}"] for run in arm.runs.values()]
            shown = float(means["estimate"].sel(arm=arm.strategy_label, layer=layer))
            assert shown == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert even_share(condition) == pytest.approx(1 / 4)


def test_maps_show_the_last_step_of_one_seed_averaged_over_heads(condition):
    found = probe_maps(condition)
    assert (found.dims, int(found["seed"]), int(found["layer"])) == (("arm", "sample", "token"), 0, 1)
    record = clsight.open_record(condition.arms[1].runs[0].record)
    weights = record["attends_to"].values[-1]  # [sample, layer, head, token]
    for sample in range(3):
        slow = [np.mean([weights[sample, 1, head, token] for head in range(2)]) for token in range(4)]
        np.testing.assert_allclose(found.sel(arm="zeros").values[sample], slow, atol=1e-7)
    np.testing.assert_allclose(found.sum("token"), 1, atol=1e-6)
