"""`clsight doctor` in the terminal: what it prints and how it ends."""

import json

import pytest
from click.testing import CliRunner

from clsight.cli import main
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model
from doctor.patients import series


def run(*arguments):
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def first_token(tmp_path):
    """Return the folder of a model with the thread's bug: it reads its answer off an ordinary token."""
    config = ModelConfig(classes=3, width=12, heads=3, strategy="first_token", max_time=9)
    save_model(ClassificationTransformer(config), tmp_path / "model", arrays={"inputs": series().numpy()})
    return tmp_path / "model"


def test_command_of_a_healthy_model_ends_with_0_and_tells_counts():
    result = run("digits-learned")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "digits-learned: 0 errors, 0 warnings, 0 notes; 22 checks in order, 3 not",
        "applicable",
    ]


def test_command_lists_what_is_in_order_when_asked():
    lines = run("digits-learned", "--all").stdout.splitlines()
    assert "OK       Attention was found in 3 layers of 4 heads over 17 tokens." in lines
    assert "-        padding_gets_nothing: the examined samples have no padding." in lines


def test_command_ends_with_1_when_there_is_an_error(first_token):
    result = run(first_token)
    assert result.exit_code == 1
    assert "\nERROR    What enters at position 0 differs between samples" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_command_prints_json_alone(first_token):
    result = run(first_token, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["model"] == "model"
    assert told["findings"][0]["check"] == "input_at_cls"
    assert told["findings"][0]["next_step"]


def test_command_ends_with_2_when_there_is_no_model():
    result = run("no-such-model")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: `no-such-model`: expected")


def test_command_ends_with_2_when_there_are_no_examples(tmp_path):
    config = ModelConfig(classes=3, width=12, heads=3)
    save_model(ClassificationTransformer(config), tmp_path / "model")
    result = run(tmp_path / "model")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: `model`: expected inputs to look at, but got none. "
        "Pass inputs; in the terminal with --input.\n"
    )
