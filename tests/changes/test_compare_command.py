"""`clsight compare A B` prints what `clsight.compare` returns; problems are one sentence."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import clsight
from clsight.cli import main

A, B = "digits-learned", "digits-zeros"


def run(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def expected():
    return clsight.compare(clsight.load(f"sample_models/{A}"), clsight.load(f"sample_models/{B}"))


def test_lines_are_those_of_python(expected):
    done = run(A, B)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == list(expected.lines(width=80))  # of a terminal that is none


def test_json_is_that_of_python(expected):
    assert json.loads(run(A, B, "--json").stdout) == expected.to_dict()


@pytest.mark.parametrize("option", ["--input", "--inputs"])
def test_both_read_the_given_inputs(tmp_path, option):
    images = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    told = json.loads(run(A, B, option, tmp_path / "images.npy", "--json").stdout)
    assert told["answers"]["samples"] == 3
    assert told["answers"]["right_before"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((A, "digits-zeroes"), "Did you mean `digits-zeros`?"),
        ((A, "sample_models/find-digit"), "Error: `"),
        ((A, B, "--input", "absent.npy"), "but got no file of that name"),
    ],
)
def test_problem_is_one_sentence(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert message in done.output
    assert len(done.output.strip().splitlines()) == 1
