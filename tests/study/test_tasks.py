"""Tasks: what their labels say of their inputs, parts that share nothing, the same samples for one seed."""

import numpy as np
import pytest
import torch

from clsight import StudyError
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.study.tasks import TASKS, Part, task_named
from clsight.study.tasks.speakers import padded

WITHOUT_A_FILE = {
    "retrieval": {"train": 60, "test": 50},
    "count": {"train": 60, "test": 50},
    "digits": {},
    "find-digit": {"train": 1, "test": 1},
}
NAMES = [*WITHOUT_A_FILE, "sentences"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return options for each task, so that it is quick."""
    path = tmp_path_factory.mktemp("text") / "polarity.txt"
    lines = [
        f"{'good' if number % 2 else 'bad'}\tfilm {'abcdefg'[number % 7]}, {'opqrstuvw'[number // 7]}"
        for number in range(60)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return {**WITHOUT_A_FILE, "sentences": {"path": str(path)}}


def parts(name, options, seed=0):
    data = task_named(name, options[name]).data(seed)
    return data.train, data.validation, data.test


def rows(part):
    return {tuple(np.round(row, 6)) for row in part.inputs.flatten(1).numpy()}


def test_every_task_is_tested():
    """Speakers needs aeon, which wants an environment of its own: tests/needs_aeon."""
    assert {*NAMES, "speakers"} == set(TASKS)


@pytest.mark.parametrize("name", NAMES)
def test_one_seed_gives_the_same_samples_and_another_seed_others(name, small):
    for one, again, other in zip(
        parts(name, small), parts(name, small), parts(name, small, seed=1), strict=True
    ):
        assert torch.equal(one.inputs, again.inputs)
        assert torch.equal(one.labels, again.labels)
        assert not torch.equal(one.inputs[:5], other.inputs[:5])


@pytest.mark.parametrize("name", ["retrieval", "digits", "find-digit"])
def test_parts_share_no_sample(name, small):
    train, validation, test = map(rows, parts(name, small))
    assert not train & validation
    assert not (train | validation) & test


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_its_settings_reads_it(name, small):
    task = task_named(name, small[name])
    part = task.data(0).train.of(slice(0, 4))
    model = ClassificationTransformer(ModelConfig(**task.model, width=8, heads=2, layers=1))
    assert model(part.inputs, part.token_mask).shape == (4, task.model["classes"])
    assert int(part.labels.max()) < task.model["classes"]


def test_retrieval_asks_for_the_content_of_the_marked_token():
    task = task_named("retrieval", {"time": 5, "classes": 3, "noise": 1e-3, "train": 40, "test": 8})
    part = task.data(3).train
    for sample, label in zip(part.inputs.numpy(), part.labels.tolist(), strict=True):
        [marked] = [token for token in sample if token[3] > 0.5]
        assert int(marked[:3].argmax()) == label
    assert set(part.labels.tolist()) == {0, 1, 2}


def test_retrieval_is_at_chance_for_a_mean_over_tokens():
    part = task_named("retrieval", {"train": 4000}).data(0).train
    mean = part.inputs.mean(1).numpy()
    labels = part.labels.numpy()
    solved, *_ = np.linalg.lstsq(np.c_[mean, np.ones(len(mean))], np.eye(4)[labels], rcond=None)
    told = (np.c_[mean, np.ones(len(mean))] @ solved).argmax(1)
    assert np.mean(told == labels) < 0.4  # the content of one token in 24, against 0.25 by chance


def test_counting_counts_content_zero():
    part = task_named("count", {"time": 4, "contents": 3, "train": 200, "test": 8}).data(0).train
    assert torch.equal((part.inputs.argmax(-1) == 0).sum(1), part.labels)
    assert set(part.labels.tolist()) == {0, 1, 2, 3, 4}


def test_five_seeds_of_digits_test_every_image_once():
    tested = [rows(parts("digits", WITHOUT_A_FILE, seed)[2]) for seed in range(5, 10)]
    whole = parts("digits", WITHOUT_A_FILE)
    everything = rows(Part(torch.cat([part.inputs for part in whole]), torch.zeros(0)))
    assert sum(map(len, tested)) == len(everything)
    assert set.union(*tested) == everything
    sizes = [len(part) for part in whole]
    assert sum(sizes) == 1797
    assert sizes[2] in (359, 360)


def test_shifting_moves_ink_by_one_pixel_at_most():
    task = task_named("digits")
    image = torch.zeros(200, 8, 8)
    image[:, 4, 4] = 1.0
    moved = task.augment(image, torch.Generator().manual_seed(0))
    places = {tuple(place) for place in moved.nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}
    assert task_named("digits", {"shift": False}).augment is None


def test_series_of_speakers_are_padded_after_their_end():
    series = [np.arange(6.0).reshape(2, 3), np.ones((2, 1))]  # [feature, time]
    part = padded(series, ["9", "1"])
    assert part.inputs.tolist() == [[[0, 3], [1, 4], [2, 5]], [[1, 1], [0, 0], [0, 0]]]
    assert part.token_mask.tolist() == [[True] * 3, [True, False, False]]
    assert part.labels.tolist() == [8, 0]


def test_a_missing_library_is_told_with_the_command_that_brings_it():
    with pytest.raises(StudyError) as refusal:
        task_named("speakers").data(0)
    assert str(refusal.value) == (
        "`aeon`: expected an installed package, but got No module named 'aeon'. "
        "Run pip install 'clsight[speakers]'."
    )


def test_an_unknown_task_or_option_is_refused():
    with pytest.raises(StudyError) as refusal:
        task_named("digit")
    assert str(refusal.value) == (
        "`task`: expected a known task, but got 'digit'. Did you mean `digits`? Options: "
        f"{', '.join(sorted(TASKS))}."
    )
    with pytest.raises(
        StudyError, match=r"`task retrieval`: expected options that it takes, but got .*tokens"
    ):
        task_named("retrieval", {"tokens": 3})
