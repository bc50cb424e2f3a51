"""Whatever a file of weights holds: it loads as it was saved, or is refused in a sentence; it never runs."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from hostile_files import Case, all_cases
from hostile_pickles import running_files
from hostile_reader import ALLOWANCE, digest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
LONGEST = 5.0
"""Seconds that a file may take."""


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    """Return the folder in which code leaves a mark if it runs."""
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def cases(marks):
    return list(all_cases(marks))


@pytest.fixture(scope="module")
def reports(cases, marks, tmp_path_factory):
    """Return what came of each case, read in one process of its own."""
    folder, report = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("report") / "report.jsonl"
    for index, case in enumerate(cases):
        (folder / f"{index:04}.pt").write_bytes(case.data)
    run_reader("hostile_reader.py", str(folder), str(report))
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["file"] for line in lines] == [f"{index:04}.pt" for index in range(len(cases))]
    return lines


def run_reader(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(TESTS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def wrong(case: Case, report) -> str:
    """Return what is wrong with what came of a case, or nothing."""
    told = f"{case.kind}, {case.name}: {report['outcome']}"
    if report["outcome"] == "refused":
        return told if case.fate == "loads" else ""
    if report["outcome"] != "loads" or case.fate == "refused":
        return told
    saved = {name: digest(tensor) for name, tensor in case.tensors.items()}
    if case.fate == "refused or same numbers":
        return "" if Counter(saved.values()) == Counter(report["tensors"].values()) else f"{told} others"
    return "" if saved == report["tensors"] else f"{told} others"


def test_files_are_many_and_differ(cases):
    assert len(cases) >= 300
    assert len({case.data for case in cases}) >= len(cases) - 5  # a cut near the end of a kind may repeat


def test_each_file_loads_as_it_was_saved_or_is_refused(cases, reports):
    assert not [line for case, report in zip(cases, reports, strict=True) if (line := wrong(case, report))]


def test_each_refusal_is_one_sentence_with_a_next_step(cases, reports):
    for case, report in zip(cases, reports, strict=True):
        if report["outcome"] == "refused":
            message = report["message"]
            assert ": expected " in message, case.name
            assert ", but got " in message, case.name
            assert message.endswith("."), case.name
            assert message.isprintable(), case.name
            assert len(message) < 1000, case.name


def test_no_file_takes_more_memory_than_its_size_and_the_allowance(reports):
    assert max(report["peak"] for report in reports) < ALLOWANCE


def test_no_file_takes_long(reports):
    assert max(report["seconds"] for report in reports) < LONGEST


def test_no_file_runs_code(cases, reports, marks):
    names = {case.name for case in cases if case.kind == "runs code"}
    assert len(names) > 50
    assert not names & {mark.name for mark in marks.iterdir()}


def test_same_files_do_run_code_in_an_unpickler_that_trusts_them(tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    marks = tmp_path / "marks"
    marks.mkdir()
    found = running_files(marks)
    for name, data in found.items():
        (files / name).write_bytes(data)
    run_reader("trusting_reader.py", str(files))
    deadline = time.monotonic() + 10  # what a file starts may go on after it is read
    while (missing := found.keys() - {mark.name for mark in marks.iterdir()}) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not missing
