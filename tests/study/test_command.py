"""`clsight study` in the terminal: what it prints, how it ends, and what it refuses before it starts."""

import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from clsight.cli import main
from study.made_runs import SMALL

UNTUNED = SMALL.replace("[tuning]\nlearning_rate = [0.001, 0.01]\nseeds = 1", "")
PLAIN = UNTUNED.replace("seeds = 3", "seeds = 6")
PRIMARY = '[[primary]]\nblock = "first"\na = "learned"\nb = "zeros"\n'


def run(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(PLAIN + PRIMARY)
    return path


@pytest.mark.slow
def test_run_makes_the_study_beside_its_file_and_show_prints_it_again(file):
    result = run("run", file, "--workers", 2)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "small: 12 of 12 runs to make, 2 at once"
    assert lines[1:3] == ["small", "12 of 12 compared runs are finished; 0 failed, 0 diverged."]
    assert "Declared beforehand, at level 0.05:" in lines
    assert any(line.startswith("  learned − zeros in accuracy, first: ") for line in lines)
    header = next(line for line in lines if line.startswith("first "))
    assert header.split() == [
        *("first", "runs", "diverged", "rate", "accuracy", "interval", "to", "learned", "interval")
    ]
    assert [line.split()[:4] for line in lines if line.startswith(("learned ", "zeros "))] == [
        ["learned", "6/6", "0", "0.003"],
        ["zeros", "6/6", "0", "0.003"],
    ]
    again = run("run", file, "--workers", 1)
    assert again.stdout.splitlines()[0].startswith("small: 0 of 12 runs to make, 1 at once, about 0 s")
    shown = run("show", file.with_suffix(""))
    assert shown.stdout.splitlines() == lines[1:]
    loss = run("show", file.with_suffix(""), "--metric", "loss")
    assert " loss " in loss.stdout
    assert run("show", file.with_suffix(""), "--metric", "los").exit_code == 2


def test_plan_prints_every_default_and_makes_nothing(file, tmp_path):
    # No short runs are needed to know that nothing is known: the file says what would run.
    result = run("run", file, "--plan", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "weight_decay = 0.05" in result.stdout.splitlines()
    assert result.stdout.splitlines()[-1].startswith("small: 12 of 12 runs to make, ")
    assert ", about " in result.stdout.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_grid_larger_than_the_limit_needs_yes(file, tmp_path):
    file.write_text(PLAIN.replace("seeds = 6", "seeds = 251"))
    result = run("run", file, "--out", tmp_path / "out", "--workers", 2)
    assert result.exit_code == 2
    assert "`--yes`: expected at most 500 runs without it, but got small: 502 of 502 runs" in result.stderr
    assert "Give --yes to start them all, or ask for less in the file." in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_task_of_the_users_own_is_not_imported_without_leave(file, tmp_path):
    file.write_text(PLAIN.replace('"count"', '"mine:parity"'))
    (tmp_path / "mine.py").write_text("raise SystemExit('imported')")
    result = run("run", file)
    assert result.exit_code == 2
    assert "If you trust that code, add: --allow-task mine:parity." in result.stderr


def test_options_of_ray_need_its_engine(file):
    result = run("run", file, "--address", "auto")
    assert result.exit_code == 2
    assert "`--address`: expected --engine ray beside it, but got local. Add --engine ray." in result.stderr


def test_show_of_no_study_is_answered_in_a_sentence(tmp_path):
    result = run("show", tmp_path)
    assert result.exit_code == 2
    assert "Make one: clsight study run FILE --out DIR." in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a signal that Windows does not have")
def test_ctrl_c_ends_with_a_sentence_and_the_same_command_goes_on(file):
    command = [sys.executable, "-m", "clsight", "study", "run", str(file), "--workers", "2"]
    command[1:3] = ["-c", "from clsight.cli import main; main()"]
    study = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runs = file.with_suffix("") / "runs"
    while study.poll() is None and len(list(runs.glob("[!.]*"))) < 2:
        time.sleep(0.01)
    study.send_signal(signal.SIGINT)
    _, told = study.communicate()
    assert study.returncode == 130, told
    assert f"Stopped. The finished runs are in {file.with_suffix('')}; the same command goes on." in told
    assert "Traceback" not in told
    assert "leaked" not in told  # no semaphore of the system is left behind
    there = len(list(runs.glob("[!.]*")))
    assert 2 <= there < 12
    assert run("run", file, "--workers", 2).stdout.startswith(f"small: {12 - there} of 12 runs to make")
