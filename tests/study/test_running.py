"""Running a study: resumed it gives what it would have given, bit for bit; failures stop nothing."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clsight import StudyError, load, open_record
from clsight.study.engines import LocalEngine
from clsight.study.running import run_study
from clsight.study.store import Store
from study.made_runs import SMALL, failing_for_zeros, files_in, sleeping, small_study

ENGINE = LocalEngine(workers=2)


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    """Return the store of a study that ran through, and what was told of it."""
    store = Store(tmp_path_factory.mktemp("unkilled"))
    return store, run_study(small_study(), store, ENGINE, progress=False)


def test_a_study_makes_every_run_and_says_which_answers_which_question(unkilled):
    store, tally = unkilled
    assert (tally.runs, tally.finished, tally.failed) == (10, 10, 0)
    plan = store.plan()
    assert [arm["labels"] for arm in plan["arms"]] == [{"strategy": "learned"}, {"strategy": "zeros"}]
    for arm in plan["arms"]:
        assert [list(arm["keys"]), list(arm["tuning"])] == [["0", "1", "2"], ["0.001", "0.01"]]
        for seed, key in arm["keys"].items():
            run = store.run(key)
            expected = {**arm["settings"], "seed": int(seed), "learning_rate": arm["learning_rate"]}
            assert run.planned.settings.to_dict() == expected
            assert run.planned.evaluate == "test"
            assert 0 <= run.outcome["accuracy"] <= 1
            assert run.history.is_file()
            assert run.record.is_file()
            assert load(run.folder).module.config.seed == int(seed)
            assert open_record(run.record).sizes["step"] == 2
        assert not [*(store.folder / "runs" / arm["tuning"]["0.01"][0]).glob("*.safetensors")]


def test_the_learning_rate_is_the_best_on_validation_data(unkilled):
    store, _ = unkilled
    for arm in store.plan()["arms"]:
        runs = {float(rate): [store.run(key) for key in keys] for rate, keys in arm["tuning"].items()}
        assert {run.planned.evaluate for tried in runs.values() for run in tried} == {"validation"}
        scores = {rate: tried[0].outcome["validation_accuracy"] for rate, tried in runs.items()}
        best = max(scores.values())
        assert arm["learning_rate"] == min(rate for rate, score in scores.items() if score == best)


def test_a_run_that_is_there_is_not_made_again(unkilled, tmp_path):
    shutil.copytree(unkilled[0].folder, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    gone = sorted((store.folder / "runs").iterdir())[3]
    shutil.rmtree(gone)
    times = {path: path.stat().st_mtime_ns for path in (store.folder / "runs").iterdir()}
    run_study(small_study(), store, ENGINE, progress=False)
    after = {path: path.stat().st_mtime_ns for path in (store.folder / "runs").iterdir()}
    assert after.keys() - times.keys() == {gone}
    assert {path: after[path] for path in times} == times
    assert files_in(store) == files_in(unkilled[0])


@pytest.mark.slow
def test_more_seeds_use_what_is_there(unkilled, tmp_path):
    shutil.copytree(unkilled[0].folder, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    before = files_in(store)
    run_study(small_study(SMALL.replace("seeds = 3", "seeds = 4")), store, ENGINE, progress=False)
    after = files_in(store)
    assert before.items() <= after.items()
    assert len(list((store.folder / "runs").iterdir())) == 12


@pytest.mark.slow
def test_a_failed_run_is_recorded_and_stops_no_other(tmp_path):
    store = Store(tmp_path)
    study = small_study()
    tally = run_study(study, store, ENGINE, work=failing_for_zeros, progress=False)
    assert (tally.runs, tally.finished, tally.failed) == (10, 5, 5)
    assert tally.errors == {
        "ArithmeticError: nothing comes of seed 0": 1,
        "ArithmeticError: nothing comes of seed 1": 1,
        "ArithmeticError: nothing comes of seed 2": 1,
        "ArithmeticError: nothing comes of seed 10000": 2,
    }
    failed = [json.loads(path.read_text()) for path in (tmp_path / "failed").iterdir()]
    assert {one["settings"]["strategy"] for one in failed} == {"zeros"}
    assert all("failing_for_zeros" in "\n".join(one["details"]) for one in failed)


@pytest.mark.slow
def test_a_failed_run_is_tried_again(unkilled, tmp_path):
    shutil.copytree(unkilled[0].folder, tmp_path / "copy")
    store = Store(tmp_path / "copy")
    for key in (store.plan()["arms"][1]["keys"][seed] for seed in "01"):
        shutil.rmtree(store.folder / "runs" / key)
        store.add_failure(key, store.run(store.plan()["arms"][1]["keys"]["2"]).planned, "OSError: once")
    assert run_study(small_study(), store, ENGINE, progress=False) == unkilled[1]
    assert files_in(store) == files_in(unkilled[0])
    assert list((store.folder / "failed").iterdir()) == []


STUDY = """
import sys
sys.path.insert(0, sys.argv[3])
from clsight.study.engines import LocalEngine
from clsight.study.running import run_study
from clsight.study.store import Store
from study.made_runs import small_study
run_study(small_study(sys.argv[2]), Store(sys.argv[1]), LocalEngine(workers=2), progress=False)
"""


def killed_study(folder, text, *, after_runs, sign, delay):
    """Start the study, kill it a moment after so many runs are there, and tell whether it was still on."""
    command = [sys.executable, "-c", STUDY, folder, text, Path(__file__).parents[1]]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as study:
        while study.poll() is None and len(finished_in(folder)) < after_runs:
            time.sleep(0.002)
        time.sleep(delay)
        was_on = study.poll() is None
        study.send_signal(sign)
    return was_on


def finished_in(folder):
    return list(folder.glob("runs/[!.]*"))


def check_resumes(reference, folder, text, *, kills, seed):
    """Kill a study again and again while it makes runs, let it end, and compare every byte but the times."""
    draw = random.Random(seed)
    for number in range(kills):
        there = len(finished_in(folder))
        # Every fourth is killed while it starts.
        asked = there + (number % 4 != 3)
        sign = signal.SIGINT if number % 3 == 2 else signal.SIGKILL
        assert killed_study(folder, text, after_runs=asked, sign=sign, delay=draw.uniform(0, 0.25))
        assert len(finished_in(folder)) >= asked
    tally = run_study(small_study(text), Store(folder), ENGINE, progress=False)
    assert tally.finished == tally.runs == len(finished_in(folder))
    assert files_in(Store(folder)) == files_in(reference)


@pytest.mark.slow
def test_a_study_killed_at_random_moments_gives_the_same_bit_for_bit(unkilled, tmp_path):
    check_resumes(unkilled[0], tmp_path, SMALL, kills=3, seed=0)


@pytest.mark.long
def test_a_study_killed_at_ten_random_moments_gives_the_same_bit_for_bit(tmp_path):
    text = SMALL.replace("seeds = 3", "seeds = 14")
    reference = Store(tmp_path / "unkilled")
    run_study(small_study(text), reference, ENGINE, progress=False)
    check_resumes(reference, tmp_path / "killed", text, kills=10, seed=1)


def test_a_task_of_the_users_own_needs_leave(tmp_path):
    text = SMALL.replace('task = "count"', 'task = "mine.tasks:parity"')
    with pytest.raises(StudyError) as caught:
        run_study(small_study(text), Store(tmp_path / "new"), ENGINE, progress=False)
    assert str(caught.value) == (
        "`task`: expected leave to import and run 'mine.tasks:parity', but got none. "
        "If you trust that code, add: --allow-task mine.tasks:parity."
    )
    assert not (tmp_path / "new").exists()


def test_a_primary_that_is_declared_late_is_marked(tmp_path):
    store = Store(tmp_path)
    plain = SMALL.replace("[tuning]\nlearning_rate = [0.001, 0.01]\nseeds = 1", "")
    first = '[[primary]]\nblock = "first"\na = "learned"\nb = "zeros"\n'
    second = first.replace("[[primary]]", '[[primary]]\nname = "second"')
    for seeds, declared in ((6, first), (7, first + second)):
        study = small_study(plain.replace("seeds = 3", f"seeds = {seeds}") + declared)
        run_study(study, store, ENGINE, work=sleeping, progress=False)
    assert [one["declared_after"] for one in store.plan()["primaries"]] == [0, 12]
