"""The model that has to find its digit: scenes are what they say, and it reads them as its card says."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import clsight

FOLDER = Path(__file__).resolve().parents[1] / "sample_models"


@pytest.fixture(scope="module")
def find_digit():
    """Return the training script as a module, with its neighbors importable meanwhile."""
    sys.path.insert(0, str(FOLDER))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the wheel takes this folder as it is
    yield importlib.import_module("find_digit")
    sys.dont_write_bytecode = before
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def held_out(find_digit):
    return find_digit.held_out_scenes()


@pytest.fixture(scope="module")
def metrics():
    return json.loads((FOLDER / "find-digit" / "metrics.json").read_text(encoding="utf-8"))


def test_evidence_is_where_the_ink_is(find_digit):
    digits = torch.zeros(3, 8, 8)
    digits[0, 0, 0], digits[1, 7, 7], digits[2] = 1.0, 0.25, 1.0
    made = find_digit.scenes(
        digits, torch.arange(3), torch.full((30, 40), 0.5), torch.Generator().manual_seed(4)
    )
    for sample in range(3):
        inked = (made.images[sample] != 0.5).numpy()
        rows, columns = np.nonzero(inked)
        expected = sorted(
            {int(row // 4) * 6 + int(column // 4) for row, column in zip(rows, columns, strict=True)}
        )
        assert made.evidence[sample].nonzero().flatten().tolist() == expected
        assert inked.sum() == [1, 1, 64][sample]
    assert made.images[1].max() == pytest.approx(0.5 * 0.75 + 0.25)
    assert made.evidence.sum(1).tolist() == [1, 1, 4]


def test_digits_stand_everywhere_on_the_grid_and_nowhere_else(find_digit):
    ink = torch.ones(2000, 8, 8)
    made = find_digit.scenes(ink, torch.zeros(2000), torch.zeros(24, 24), torch.Generator().manual_seed(0))
    first = made.evidence.int().argmax(1)
    assert set(first.tolist()) == {row * 6 + column for row in range(5) for column in range(5)}


def test_test_part_shares_neither_digits_nor_photograph_with_training(find_digit, held_out):
    digits = find_digit.split_digits()
    train = {image.tobytes() for image in digits.train_images.numpy()}
    assert not train & {image.tobytes() for image in digits.test_images.numpy()}
    assert not torch.equal(find_digit.photograph("china.jpg"), find_digit.photograph("flower.jpg"))
    assert len(held_out.images) == 360
    assert 0 <= held_out.images.min() < held_out.images.max() == 1


def test_model_gives_the_stored_logits_and_reads_as_its_card_says(find_digit, held_out, metrics):
    subject = clsight.load(FOLDER / "find-digit")
    with torch.no_grad():
        logits = subject.module(subject.prepare(subject.examples).inputs).numpy()
    np.testing.assert_allclose(logits, metrics["example_logits"], atol=2e-3)
    assert find_digit.accuracy(subject.module, held_out) == pytest.approx(metrics["test_accuracy"], abs=0.006)
    assert metrics["test_accuracy"] > 0.95
    assert np.bincount(subject.examples.labels).tolist() == [2] * 10
    card = (FOLDER / "find-digit" / "README.md").read_text(encoding="utf-8")
    assert f"It reads {100 * metrics['test_accuracy']:.1f} % of 360 held-out digits" in card


@pytest.mark.slow
def test_training_repeats_bit_for_bit(find_digit):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe = find_digit.Recipe(epochs=1, learning_rate=1e-3)
    models = [find_digit.build(0) for _ in range(2)]
    losses = [find_digit.fit(model, recipe) for model in models]
    torch.set_num_threads(before)
    assert losses[0] == losses[1]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_healthy_model_has_no_error_and_no_warning():
    findings = clsight.diagnose(clsight.load(FOLDER / "find-digit"))
    assert findings.errors == ()
    assert findings.warnings == ()
