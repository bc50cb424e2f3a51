"""Keys: the same for the same run, another for anything that may change its result, nothing else."""

import sys
from dataclasses import replace

import pytest

from clsight import StudyError
from clsight.study import RunSettings
from clsight.study.code_version import code_version, source_files
from clsight.study.keys import identity, key_of
from clsight.study.planned_runs import PlannedRun

WORK = "clsight.study.working"
RUN = PlannedRun(settings=RunSettings(task="count", seed=3), evaluate="test", probe_steps=4)


@pytest.fixture(autouse=True)
def _work():
    import clsight.study.working  # noqa: F401


def changed(**settings):
    return replace(RUN, settings=replace(RUN.settings, **settings))


def test_equal_runs_have_equal_keys_and_permission_is_no_part_of_them():
    again = PlannedRun.from_dict(RUN.to_dict())
    assert key_of(again, WORK) == key_of(RUN, WORK) == key_of(replace(RUN, allow_task=True), WORK)
    assert len(key_of(RUN, WORK)) == 24


def test_anything_that_may_change_the_result_changes_the_key():
    others = [
        changed(seed=4),
        changed(strategy="zeros"),
        changed(learning_rate=0.004),
        changed(task_options={"time": 9}),
        replace(RUN, evaluate="validation"),
        replace(RUN, probe_steps=5),
    ]
    assert len({key_of(run, WORK) for run in [RUN, *others]}) == 7


def test_a_file_named_in_the_options_counts_by_what_is_in_it(tmp_path):
    file = tmp_path / "sentences.txt"
    run = changed(task_options={"path": str(file)})
    keys = []
    for text in ("good\n", "bad\n\n", "good\n"):
        file.write_text(text)
        keys.append(key_of(run, WORK))
    assert keys[0] == keys[2] != keys[1]


def test_a_task_of_the_users_own_counts_by_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    run = changed(task="my_own_tasks:parity")
    with pytest.raises(StudyError) as caught:
        key_of(run, WORK)
    assert str(caught.value) == (
        "`my_own_tasks:parity`: expected a task whose module is found, but got no my_own_tasks. "
        "Start from the folder it is imported from, or install it."
    )
    (tmp_path / "my_own_tasks.py").write_text("x = 1\n")
    first = key_of(run, WORK)
    (tmp_path / "my_own_tasks.py").write_text("x = 22\n")
    assert key_of(run, WORK) != first


def test_the_code_of_a_run_is_all_that_training_and_measuring_reach_and_nothing_of_what_follows():
    names = source_files(WORK).keys()
    assert {
        "clsight.study.training",
        "clsight.study.fitting",
        "clsight.study.tasks.retrieval",
        "clsight.study.measurements.attending",
        "clsight.models",
        "clsight.cls_token",
        "clsight.hooks.calls",
    } <= names
    assert not {"clsight", "clsight.study", "clsight.study.store", "clsight.study.study_file"} & names
    assert not [
        name for name in names if name.startswith(("clsight.figures", "clsight.cli", "clsight.doctor"))
    ]


def test_every_module_of_clsight_that_a_run_loads_is_in_its_code(tmp_path):
    """What Python has imported after a run is what the source was searched for."""
    import subprocess

    code = (
        "import sys; from clsight.study.working import trained; from clsight.study import RunSettings;"
        "from clsight.study.planned_runs import PlannedRun;"
        "s = RunSettings(task='count', task_options={'train': 64, 'test': 20}, epochs=1, batch=16, width=8);"
        "trained(PlannedRun(settings=s, evaluate='test', probe_steps=2));"
        "print(*[n for n in sys.modules if n.startswith('clsight')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    beside = set(told.split()) - source_files(WORK).keys()
    # Packages whose own files only hand on names, and the measures that the one of `analysis` lists.
    assert {name for name in beside if not name.startswith("clsight.analysis")} == {
        "clsight",
        "clsight.study",
    }
    assert "clsight.study.measurements.drawing" in told.split()


def test_a_changed_source_file_changes_the_code_version(tmp_path, monkeypatch):
    file = tmp_path / "made_up_work.py"
    file.write_text("from clsight.study.run_settings import RunSettings\n")
    monkeypatch.syspath_prepend(tmp_path)
    import made_up_work

    assert set(source_files("made_up_work")) >= {"made_up_work", "clsight.study.run_settings"}
    before = code_version("made_up_work")
    file.write_text("from clsight.study.run_settings import RunSettings  # changed\n")
    code_version.cache_clear()
    assert code_version("made_up_work") != before
    del sys.modules[made_up_work.__name__]


def test_versions_are_part_of_the_identity():
    assert identity(RUN, WORK)["versions"].keys() == {"torch", "numpy", "python"}
