"""The shipped models are what their cards say, and the training that made them repeats bit for bit."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import clsight

FOLDER = Path(__file__).resolve().parents[1] / "sample_models"
NAMES = ("digits-learned", "digits-zeros", "digits-fixed-random", "digits-random-per-forward")


@pytest.fixture(scope="module")
def train():
    """Return the training script as a module, with its neighbors importable meanwhile."""
    sys.path.insert(0, str(FOLDER))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the wheel takes this folder as it is
    yield importlib.import_module("train")
    sys.dont_write_bytecode = before
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def digits(train):
    return train.split_digits()


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def metrics_of(name):
    return json.loads((FOLDER / name / "metrics.json").read_text(encoding="utf-8"))


def test_there_is_one_folder_per_strategy():
    assert sorted(path.parent.name for path in FOLDER.glob("digits-*/config.json")) == sorted(NAMES)


def test_all_models_together_are_under_three_megabytes():
    files = [path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_sample_model_loads_with_twenty_varied_examples(name):
    subject = clsight.load(FOLDER / name)
    assert name == f"digits-{subject.strategy.replace('_', '-')}"
    assert subject.classes == tuple("0123456789")
    assert np.bincount(subject.examples.labels).tolist() == [2] * 10
    prepared = subject.prepare(subject.examples)
    assert subject.module(prepared.inputs).shape == (20, 10)
    assert prepared.token_text.shape == (20, 17)
    assert subject.examples.inputs.min() == 0.0
    assert subject.examples.inputs.max() == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_sample_model_gives_the_stored_logits(name):
    subject = clsight.load(FOLDER / name)
    with torch.no_grad():
        logits = subject.module(subject.prepare(subject.examples).inputs).numpy()
    # Logits of about 10, float32, another processor's order of additions, rounded to 5 digits in the file.
    np.testing.assert_allclose(logits, metrics_of(name)["example_logits"], atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_sample_model_reaches_the_accuracy_on_its_card(name, train, digits):
    stored = metrics_of(name)
    measured = train.measure(clsight.load(FOLDER / name).module, digits)
    # One of 360 images may fall on the other side of a tie on another processor.
    assert measured["test_accuracy"] == pytest.approx(stored["test_accuracy"], abs=1.01 / 360)
    assert measured.get("changing_predictions", 0) == pytest.approx(
        stored.get("changing_predictions", 0), abs=1.01 / 360
    )
    assert f": {stored['test_accuracy']:.3f}" in (FOLDER / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_card_is_made_from_the_metrics(name, train):
    assert (FOLDER / name / "README.md").read_text(encoding="utf-8") == train.card(name, metrics_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipe_is_the_one_in_the_script(name, train):
    assert metrics_of(name)["recipe"] == train.asdict(train.Recipe())


def test_held_out_images_are_not_trained_on(digits):
    trained = {image.numpy().tobytes() for image in digits.train_images}
    assert len(digits.train_images) == 1437
    assert len(digits.test_images) == 360
    assert not [image for image in digits.test_images if image.numpy().tobytes() in trained]


def test_examples_are_held_out_images(digits):
    held_out = {
        image.numpy().tobytes(): int(label)
        for image, label in zip(digits.test_images, digits.test_labels, strict=True)
    }
    examples = clsight.load(FOLDER / NAMES[0]).examples
    assert [held_out[image.tobytes()] for image in examples.inputs] == examples.labels.tolist()


@pytest.mark.parametrize("strategy", ["learned", "random_per_forward"])
def test_training_lowers_the_loss_and_repeats_bit_for_bit(strategy, train, digits, one_thread):
    recipe = replace(train.Recipe(), epochs=3, warmup_steps=5)
    images, labels = digits.train_images[:320], digits.train_labels[:320]
    runs = []
    for noise in (0, 1):
        torch.manual_seed(noise)  # the global random state plays no part
        model = train.build(strategy, recipe)
        losses = train.fit(model, images, labels, recipe)
        runs.append((losses, model.state_dict()))
    (losses, weights), (same_losses, same_weights) = runs
    assert losses[-1] < losses[0] - 0.1
    assert losses == same_losses
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)


def test_training_with_another_seed_gives_other_weights(train, digits, one_thread):
    recipe = replace(train.Recipe(), epochs=1)
    images, labels = digits.train_images[:64], digits.train_labels[:64]
    heads = []
    for seed in (0, 1):
        model = train.build("zeros", replace(recipe, seed=seed))
        train.fit(model, images, labels, replace(recipe, seed=seed))
        heads.append(model.head.weight)
    assert not torch.equal(*heads)


def test_make_sample_writes_a_folder_that_loads(train, digits, tmp_path):
    small = replace(digits, train_images=digits.train_images[:128], train_labels=digits.train_labels[:128])
    for _ in range(2):  # the second run replaces what the first one wrote
        metrics = train.make_sample("fixed_random", small, replace(train.Recipe(), epochs=1), tmp_path)
    subject = clsight.load(tmp_path / "digits-fixed-random")
    assert [path.name for path in tmp_path.iterdir()] == ["digits-fixed-random"]
    assert sorted(path.name for path in (tmp_path / "digits-fixed-random").iterdir()) == [
        "README.md",
        "config.json",
        "examples.safetensors",
        "metrics.json",
        "model.safetensors",
    ]
    assert train.measure(subject.module, small)["test_accuracy"] == metrics["test_accuracy"]
    assert len(metrics["loss_per_epoch"]) == 1


@pytest.mark.slow
def test_random_model_is_measured_over_ten_draws(train, digits):
    model = train.build("random_per_forward", train.Recipe())
    metrics = train.measure(model, digits)
    predicted = []
    for draw in range(10):
        model.reseed(draw)
        predicted.append(model(digits.test_images).argmax(dim=-1))
    rights = [int((draw == digits.test_labels).sum()) for draw in predicted]
    changing = sum(len({int(draw[sample]) for draw in predicted}) > 1 for sample in range(360))
    assert metrics["test_accuracy_per_draw"] == pytest.approx([right / 360 for right in rights], abs=1e-6)
    assert metrics["test_accuracy"] == pytest.approx(sum(rights) / 3600, abs=1e-6)
    assert metrics["changing_predictions"] == pytest.approx(changing / 360, abs=1e-6)
    assert changing > 0


def test_shift_moves_an_image_by_at_most_one_pixel(train):
    image = torch.arange(1.0, 65.0).reshape(8, 8)
    moved = train.shifted(image.expand(200, 8, 8), torch.Generator().manual_seed(0))
    seen = set()
    for one in moved:
        row, column = (int(index) for index in (one == 28.0).nonzero()[0])  # 28 stands at row 3, column 3
        down, right = row - 3, column - 3
        expected = torch.zeros(8, 8)
        for i in range(8):
            for j in range(8):
                if 0 <= i - down < 8 and 0 <= j - right < 8:
                    expected[i, j] = image[i - down, j - right]
        assert torch.equal(one, expected)
        seen.add((down, right))
    assert seen == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}


def test_learning_rate_rises_then_falls_to_zero(train):
    factors = [train.cosine(step, 100, 20) for step in range(101)]
    assert factors[0] == pytest.approx(0.05)
    assert factors[19] == factors[20] == 1.0
    assert factors[60] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)


@pytest.mark.long
def test_whole_training_reaches_the_stored_accuracy(train, digits, one_thread, tmp_path):
    metrics = train.make_sample("learned", digits, train.Recipe(), tmp_path)
    # Another processor adds in another order; the run then drifts apart, to a model about as good.
    assert metrics["test_accuracy"] == pytest.approx(metrics_of("digits-learned")["test_accuracy"], abs=0.02)
