"""Processes of this machine: every run comes back, errors and deaths of single ones too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clsight import StudyError
from clsight.study import RunSettings
from clsight.study.engines import Failure, LocalEngine
from clsight.study.planned_runs import PlannedRun
from study.made_runs import dying_for_zeros, failing_for_zeros, sleeping

TINY = {"time": 3, "train": 32, "test": 20}


def asked(seeds, **settings):
    runs = [
        PlannedRun(
            settings=RunSettings(
                task="count", task_options=TINY, width=8, heads=2, epochs=1, batch=16, seed=seed, **settings
            ),
            evaluate="validation",
            probe_steps=0,
        )
        for seed in seeds
    ]
    return [(f"{run.settings.strategy}-{run.settings.seed}", run) for run in runs]


def test_every_run_comes_back_with_what_was_asked_and_its_files():
    runs = asked([3, 0, 1, 2])
    found = list(LocalEngine(workers=2).finished(runs, sleeping))
    assert sorted(one.key for one in found) == sorted(key for key, _ in runs)
    for one in found:
        assert dict(runs)[one.key] == one.run
        assert one.result == {"run.json": str(one.run.settings.seed).encode()}


def test_there_may_be_no_run_and_fewer_than_workers():
    assert list(LocalEngine(workers=2).finished([], sleeping)) == []
    assert [one.key for one in LocalEngine(workers=3).finished(asked([0]), sleeping)] == ["learned-0"]


def test_an_error_in_a_run_is_its_result_and_the_others_go_on():
    runs = [*asked([0]), *asked([1], strategy="zeros"), *asked([2, 3])]
    found = {one.key: one.result for one in LocalEngine(workers=1).finished(runs, failing_for_zeros)}
    failure = found.pop("zeros-1")
    assert isinstance(failure, Failure)
    assert failure.error == "ArithmeticError: nothing comes of seed 1"
    assert "in failing_for_zeros" in failure.details
    assert len(found) == 3
    assert all("run.json" in result for result in found.values())


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals on Windows")
def test_a_worker_that_dies_takes_one_run_along():
    runs = [*asked([0]), *asked([1], strategy="zeros"), *asked([2, 3])]
    found = {one.key: one.result for one in LocalEngine(workers=2).finished(runs, dying_for_zeros)}
    assert found.pop("zeros-1") == Failure("its process ended with exit code -9")
    assert len(found) == 3
    assert all("run.json" in result for result in found.values())


def test_leaving_early_ends_the_workers():
    iteration = LocalEngine(workers=2).finished(asked([0, 50, 50, 50]), sleeping)
    assert next(iteration).key == "learned-0"
    start = time.monotonic()
    iteration.close()
    assert time.monotonic() - start < 2


SERVE = """
import sys
sys.path.insert(0, sys.argv[1])
from clsight.study.engines import LocalEngine
from study.made_runs import sleeping
from study.test_local import asked
for one in LocalEngine(workers=2).finished(asked([0, 0, 600, 600]), sleeping):
    print(one.key, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the process table")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_when_the_study_is_killed_or_interrupted(sign):
    tests = Path(__file__).parents[1]
    study = subprocess.Popen(
        [sys.executable, "-c", SERVE, tests], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert [study.stdout.readline() for _ in range(2)] == ["learned-0\n"] * 2
    workers = children_of(study.pid)
    assert len(workers) >= 2
    study.send_signal(sign)
    study.communicate()
    until = time.monotonic() + 10
    while alive := [pid for pid in workers if is_running(pid)]:
        assert time.monotonic() < until, alive
        time.sleep(0.05)


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[-1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_fewer_workers_than_one_are_refused():
    with pytest.raises(StudyError) as caught:
        LocalEngine(workers=0)
    assert str(caught.value) == "`workers`: expected 1 or more, but got 0. Give 1 or more."
