"""`clsight doctor` in the terminal: what it prints and how it ends."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from clsight.cli import main
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model
from doctor.forum_classifier import ClassificationTransformer as ForumClassifier
from doctor.patients import healthy, series


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
        "digits-learned: 0 errors, 0 warnings, 0 notes; 23 checks in order, 2 not",
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


@pytest.fixture
def thread_checkpoint(tmp_path, monkeypatch):
    """Return a `state_dict` of the thread's class, in the folder where a module makes that class."""
    torch.manual_seed(0)
    torch.save(ForumClassifier(32, 4, 3).state_dict(), tmp_path / "thread.pt")
    code = "from doctor.forum_classifier import ClassificationTransformer as Forum\n"
    (tmp_path / "forum_of_mine.py").write_text(f"{code}def make():\n    return Forum(32, 4, 3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "thread.pt"


def test_command_finds_the_bug_of_the_thread_in_its_checkpoint(thread_checkpoint):
    result = run(thread_checkpoint, "--model", "forum_of_mine:make", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["labels"] == ["examined on synthetic series, seed 0"]
    errors = [finding for finding in told["findings"] if finding["severity"] == "error"]
    assert [finding["check"] for finding in errors] == ["cls_enters_encoder", "input_at_cls"]
    assert "torch.randn (4, 1, 32) is drawn at each forward pass" in errors[0]["sentence"]


def test_command_says_of_a_bare_checkpoint_that_its_forward_is_unknown(thread_checkpoint):
    result = run(thread_checkpoint, "--heads", 4, "--json")
    assert result.exit_code == 1  # what stands at position 0 is no [CLS]
    told = json.loads(result.stdout)
    assert told["labels"] == ["reconstructed forward", "examined on synthetic series, seed 0"]
    found = next(finding for finding in told["findings"] if finding["check"] == "forward_is_own")
    assert found["severity"] == "warning"
    assert "It holds no tensor for [CLS]" in found["sentence"]
    assert "Assumed: norm after each part of a layer" in found["why"]
    assert "--model package.module:factory" in found["next_step"]


def test_command_says_of_a_bare_checkpoint_that_it_holds_cls(tmp_path):
    torch.save(healthy().state_dict(), tmp_path / "mine.pt")
    result = run(tmp_path / "mine.pt", "--heads", 3)
    assert result.exit_code == 0
    assert "Reconstructed forward." in result.stdout.splitlines()
    assert "It holds a tensor for [CLS]" in " ".join(result.stdout.split())


def test_command_looks_at_the_input_it_is_given(thread_checkpoint, tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).standard_normal((3, 9, 32), dtype=np.float32))
    given = ("--model", "forum_of_mine:make", "--input", tmp_path / "mine.npy", "--json")
    told = json.loads(run(thread_checkpoint, *given).stdout)
    assert told["labels"] == []
    assert "the attention sees 9 tokens" in told["findings"][0]["sentence"]


def test_command_without_a_model_says_what_to_name():
    result = run()
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: `MODEL`: expected a model, but got none.")
