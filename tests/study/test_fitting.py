"""Training: bit for bit the same twice, and the same but for [CLS] between strategies."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from clsight.study import RunSettings
from clsight.study.fitting import accuracy, fit, logits_on, new_model
from clsight.study.tasks import Part, Task, task_named

OPTIONS = {"time": 6, "train": 96, "test": 40}
SETTINGS = RunSettings(
    task="retrieval", task_options=OPTIONS, width=8, heads=2, feedforward=16, layers=1, epochs=3, batch=16
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(settings, task=None):
    task = task or task_named(settings.task, settings.task_options)
    *_, last = fit(settings, task, task.data(settings.seed))
    return last


@pytest.mark.parametrize("strategy", ["learned", "random_per_forward", "mean_pooling"])
def test_the_same_settings_give_the_same_model_bit_for_bit(strategy):
    settings = replace(SETTINGS, strategy=strategy)
    one = trained(settings)
    torch.manual_seed(99)  # torch's own stream plays no part
    again = trained(settings)
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])
    assert [e.loss for e in one.history[1:]] == [e.loss for e in again.history[1:]]
    other = trained(replace(settings, seed=1))
    assert one.history[1].loss != other.history[1].loss


def test_strategies_see_the_same_batches_and_begin_with_the_same_other_weights():
    seen = {}
    for strategy in ("learned", "zeros", "random_per_forward", "first_token"):
        task, batches = task_named("retrieval", OPTIONS), []

        def noting(inputs, generator, kept=batches):
            kept.append(inputs.clone())
            return inputs

        settings = replace(SETTINGS, strategy=strategy)
        start = new_model(settings, task).state_dict()
        trained(settings, Task(task.name, task.model, task.data, augment=noting))
        weights = {name: w for name, w in start.items() if not name.startswith("cls_token.")}
        seen[strategy] = (weights, torch.stack(batches))
    weights, batches = seen.pop("learned")
    assert len(batches) == 3 * 6
    for others, same in seen.values():
        assert torch.equal(batches, same)
        assert weights.keys() == others.keys()
        assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_history_tells_of_each_epoch_and_of_the_vector_of_cls():
    training = trained(SETTINGS)
    assert [one.step for one in training.history] == [0, 6, 12, 18]
    assert math.isnan(training.history[0].loss)
    start = new_model(SETTINGS, task_named("retrieval", OPTIONS)).cls_token.vector.detach()
    vector = training.model.cls_token.vector.detach()
    last = training.history[-1]
    assert last.norm == pytest.approx(float(vector.norm()))
    assert last.drift == pytest.approx(float((vector - start).norm()))
    assert last.drift > 0
    assert last.gradient > 0
    fixed = trained(replace(SETTINGS, strategy="fixed_random")).history[-1]
    assert (fixed.drift, math.isnan(fixed.gradient)) == (0.0, True)
    assert math.isnan(trained(replace(SETTINGS, strategy="zeros")).history[-1].norm)


def test_rate_rises_and_falls_to_zero():
    """With a constant gradient sign, AdamW moves each weight by the rate: the last steps are smallest."""
    drifts = [
        one.drift
        for one in trained(replace(SETTINGS, epochs=10, learning_rate=1e-4, weight_decay=0.0)).history
    ]
    moved = [after - before for before, after in pairwise(drifts)]
    assert moved[1] > moved[-1]


def test_a_loss_that_is_no_number_ends_the_training_and_is_kept():
    training = trained(replace(SETTINGS, learning_rate=1e30))
    assert training.diverged
    assert len(training.history) < 4
    assert not math.isfinite(training.history[-1].loss)


def test_accuracy_is_that_of_a_loop_in_batches_with_draws_from_the_start():
    settings = replace(SETTINGS, strategy="random_per_forward")
    task = task_named("retrieval", {**OPTIONS, "test": 1500})
    model, part = new_model(settings, task).eval(), task.data(0).test
    model(part.inputs[:3])  # a draw in between
    logits = logits_on(model, part)
    assert torch.equal(logits, logits_on(model, part))
    assert not torch.equal(logits, logits_on(model, part, seed=5))
    right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, part.labels, strict=True))
    assert accuracy(model, part) == right / 1500
    masked = Part(part.inputs, part.labels, torch.arange(6) < torch.randint(3, 7, (1500, 1)))
    whole = new_model(replace(SETTINGS, strategy="learned"), task).eval()
    expected = torch.cat([whole(masked.inputs[i : i + 1], masked.token_mask[i : i + 1]) for i in range(20)])
    torch.testing.assert_close(logits_on(whole, masked)[:20], expected, rtol=1e-4, atol=1e-5)


def test_evaluation_does_not_touch_the_draws_of_training():
    """With an epoch of one batch, the draws of two epochs must differ although an evaluation lies between."""
    settings = replace(SETTINGS, strategy="random_per_forward")
    task = task_named("retrieval", OPTIONS)
    drawn = []
    for training in fit(settings, task, task.data(0)):
        token = training.model.cls_token
        state = token.generator.get_state()
        accuracy(training.model, task.data(0).test)
        assert torch.equal(token.generator.get_state(), state)
        drawn.append(state)
    assert len({tuple(state.tolist()) for state in drawn}) == len(drawn)
