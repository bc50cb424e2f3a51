"""Tasks of the user's own: imported only where that was allowed, and checked before the first step."""

import sys

import pytest
import torch

from clsight import StudyError
from clsight.study import RunSettings
from clsight.study.tasks import Data, Part, Task, task_named
from clsight.study.training import train

SOURCE = """
import torch
from clsight.study.tasks import Data, Part, Task

def parity(size=64):
    def data(seed):
        bits = torch.randint(2, (3, size, 5, 1), generator=torch.Generator().manual_seed(seed))
        return Data(*(Part(part.float(), part.sum((1, 2)) % 2) for part in bits))
    return Task("parity", {"classes": 2, "embedding": "linear", "features": 1}, data)

def number():
    return 7

constant = 7
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return the name of a module with a task, in the current folder."""
    (tmp_path / "own_parity.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("raise SystemExit('no\\nthanks')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "own_parity"
    sys.modules.pop("own_parity", None)


def test_an_allowed_task_is_trained(module):
    task = task_named(f"{module}:parity", {"size": 48}, allow=True)
    settings = RunSettings(task=f"{module}:parity", width=8, heads=2, feedforward=16, epochs=1, batch=16)
    result = train(settings, task, evaluate="test")
    assert 0.0 <= result.outcome["accuracy"] <= 1.0
    assert result.history["step"].tolist() == [0, 3]


def test_a_task_is_not_imported_unless_it_was_allowed(module):
    with pytest.raises(StudyError) as refusal:
        task_named(f"{module}:parity")
    assert str(refusal.value) == (
        "`task`: expected a task that was allowed on the command line, but got 'own_parity:parity'. "
        "If you trust that code, add: --allow-task own_parity:parity."
    )
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_parity:", "Name the function after a colon"),
        ("own-parity:parity", "expected package.module:task, but got 'own-parity:parity'"),
        (
            "own_parity:parety",
            r"expected a function in own_parity, but got no `parety`. Did you mean `parity`\?",
        ),
        ("own_parity:constant", "but got an object of type int"),
        (
            "own_parity:number",
            "`own_parity:number`: expected a task when it is called, but got an object of type int",
        ),
        ("own_nowhere:task", "expected a module own_nowhere to import, but got ModuleNotFoundError"),
        ("own_broken:task", "expected a module own_broken to import, but got SystemExit: no thanks"),
    ],
)
def test_what_is_no_task_is_refused(module, name, told):
    with pytest.raises(StudyError, match=told):
        task_named(name, allow=True)


def test_an_option_that_the_task_does_not_take_is_refused(module):
    with pytest.raises(StudyError, match=r"expected options that it takes, but got .*'width'"):
        task_named(f"{module}:parity", {"width": 3}, allow=True)


def part(count=8, *, labels=None, inputs=None, mask=None):
    inputs = torch.zeros(count, 5, 1) if inputs is None else inputs
    return Part(inputs, torch.arange(count) % 2 if labels is None else labels, mask)


WRONG = {
    "`labels`: expected one label per sample as int64 [sample], but got torch.float32 [8]": part(
        labels=torch.zeros(8)
    ),
    "expected one label per sample as int64 [sample], but got torch.int64 [0]": part(0),
    "`labels`: expected classes 0 to 1, but got -1 to 1": part(labels=torch.arange(8) % 3 - 1),
    "`inputs`: expected as many samples as labels, 8, but got torch.float32 [7, 5, 1]": part(
        inputs=torch.zeros(7, 5, 1)
    ),
    "`inputs`: expected finite numbers, but got 40 that are not": part(
        inputs=torch.full((8, 5, 1), torch.nan)
    ),
    "`token_mask`: expected torch.bool [sample=8, time], but got torch.float32 [8, 5]": part(
        mask=torch.ones(8, 5)
    ),
    "`token_mask`: expected at least one real token per sample, but got 8 samples of padding alone": part(
        mask=torch.zeros(8, 5, dtype=torch.bool)
    ),
}


def trained_on(data):
    task = Task("mine", {"classes": 2, "embedding": "linear", "features": 1}, lambda seed: data)
    return train(RunSettings(task="mine", width=8, heads=2, epochs=1, batch=4, seed=3), task)


@pytest.mark.parametrize("told", WRONG)
def test_data_that_cannot_be_trained_on_is_refused_with_the_part(told):
    with pytest.raises(StudyError) as refusal:
        trained_on(Data(part(), WRONG[told], part()))
    assert told in str(refusal.value)
    assert "In the validation part of task mine, seed 3" in str(refusal.value)


def test_fewer_samples_than_a_batch_and_no_data_are_refused():
    with pytest.raises(StudyError, match="expected at least one batch of 4 training samples, but got 3"):
        trained_on(Data(part(3), part(), part()))
    with pytest.raises(
        StudyError, match="expected `data` to return a `Data`, but got an object of type dict"
    ):
        trained_on({"train": part()})
