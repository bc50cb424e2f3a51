"""The study files that come with the project can be run as they are."""

from pathlib import Path

import pytest

from clsight.study.study_file import read_study
from clsight.study.tasks import task_named

STUDIES = sorted((Path(__file__).resolve().parents[2] / "studies").glob("*.toml"))


def test_some_are_shipped():
    assert "quick" in [path.stem for path in STUDIES]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_declares_what_it_tests_on_tasks_that_are_there(path):
    study = read_study(path)
    assert study.name == path.stem
    assert study.question.endswith("?")
    assert study.primaries
    for arms in study.arms.values():
        for arm in arms:
            task_named(arm.settings.task, arm.settings.task_options)
