"""The folder of a study: runs whole or not at all, one writer, what the disk refuses in a sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clsight import StudyError
from clsight.study import RunSettings
from clsight.study.packing import to_json
from clsight.study.planned_runs import PlannedRun
from clsight.study.store import Store

RUN = PlannedRun(settings=RunSettings(task="count"), evaluate="test", probe_steps=0)


def files_of(outcome, *, filling=b"x"):
    told = to_json({**RUN.to_dict(), "diverged": False, "outcome": outcome}).encode()
    return {
        "run.json": told,
        "time.json": b'{"seconds": 1.5}',
        "model/weights": filling,
        "history.csv": b"a\n1\n",
    }


def test_a_run_comes_back_as_it_was_written(tmp_path):
    store = Store(tmp_path / "new" / "study")
    with store.writing():
        assert not store.has("k1")
        store.add("k1", files_of({"accuracy": 0.1 + 0.2, "loss": float("nan"), "norm": float("inf")}))
        assert store.has("k1")
    run = store.run("k1")
    assert run.outcome["accuracy"] == 0.1 + 0.2
    assert str(run.outcome["loss"]) == "nan"
    assert run.outcome["norm"] == float("inf")
    assert (run.planned, run.diverged, run.seconds) == (RUN, False, 1.5)
    assert (run.folder / "model" / "weights").read_bytes() == b"x"
    json.loads((run.folder / "run.json").read_text(), parse_constant=pytest.fail)  # strict JSON


def test_a_run_that_is_there_stays_as_it_is(tmp_path):
    store = Store(tmp_path)
    with store.writing():
        store.add("k1", files_of({"accuracy": 0.5}))
        store.add("k1", files_of({"accuracy": 0.9}))
    assert store.run("k1").outcome == {"accuracy": 0.5}


def test_a_failure_is_recorded_until_the_run_is_made(tmp_path):
    store = Store(tmp_path)
    with store.writing():
        assert store.failure("k1") == ""
        store.add_failure("k1", RUN, "ValueError: no such thing", "line\nline")
        assert store.failure("k1") == "ValueError: no such thing"
        store.add("k1", files_of({"accuracy": 0.5}))
        assert store.failure("k1") == ""
    assert list((tmp_path / "failed").iterdir()) == []


HOLD = """
import sys, time
from clsight.study.store import Store
with Store(sys.argv[1]).writing():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_study_in_the_folder_is_refused_and_a_killed_one_leaves_it_free(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StudyError) as caught, Store(tmp_path).writing():
            pass
        assert str(caught.value) == (
            f"`{tmp_path}`: expected a folder that no other study writes, but got one that a running "
            f"study holds. "
            "Wait for that study to end, or give another folder with --out."
        )
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with Store(tmp_path).writing():
        pass


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from clsight.study.store import Store
from study.test_store import files_of
store = Store(sys.argv[1])
with store.writing():
    print("begun", flush=True)
    for number in range(100_000):
        store.add(f"k{number}", files_of({"accuracy": number / 7}, filling=bytes(200_000)))
"""


def test_runs_written_by_a_killed_process_are_whole(tmp_path):
    left = 0
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        tests = Path(__file__).parents[1]
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE, folder, tests], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout.readline() == "begun\n"
        time.sleep(0.05 + 0.013 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        store = Store(folder)
        left += len(list(folder.glob("runs/.unfinished-*")))
        keys = [path.name for path in folder.glob("runs/k*")]
        assert keys
        for key in keys:
            assert store.run(key).outcome == {"accuracy": int(key[1:]) / 7}
            assert len((store.run(key).folder / "model" / "weights").read_bytes()) == 200_000
        with store.writing():
            assert list(folder.glob("runs/.unfinished-*")) == []
    assert left  # some were killed in the middle of a run


FILL = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from clsight.study.store import Store
from study.test_store import files_of
store = Store(sys.argv[1])
with store.writing():
    store.add("small", files_of({}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # a file system that takes no more
    try:
        store.add("large", files_of({}, filling=bytes(200_000)))
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no such limit on Windows")
def test_a_disk_that_takes_no_more_is_told_and_nothing_of_the_run_is_there(tmp_path):
    command = [sys.executable, "-c", FILL, tmp_path, Path(__file__).parents[1]]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == (
        f"StudyError `{tmp_path}`: expected a folder that can be written, but got File too large. "
        "Free disk space or permissions, then give the same command: finished runs stay.\n"
    )
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["small"]


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StudyError) as caught, Store(tmp_path).writing():
        pass
    assert str(caught.value) == (
        f"`{tmp_path}`: expected a new or empty folder, or that of a study, but got a folder with "
        f"thesis.tex. "
        "Give another folder with --out."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_without_a_study_has_no_plan(tmp_path):
    with pytest.raises(
        StudyError, match=r"expected the folder of a study, with its study\.json, but got none"
    ):
        Store(tmp_path).plan()
    (tmp_path / "study.json").write_text('{"format": "other"}')
    with pytest.raises(StudyError, match=r"but got a study\.json that is none of clsight's"):
        Store(tmp_path).plan()


def test_a_changed_run_is_named(tmp_path):
    store = Store(tmp_path)
    with store.writing():
        store.add("k1", files_of({"accuracy": 0.5}))
    (tmp_path / "runs" / "k1" / "run.json").write_text("{}")
    with pytest.raises(StudyError, match="expected the files of a finished run, but got KeyError: 'outcome'"):
        store.run("k1")
