"""Find-digit as a task: scenes as a slow loop puts them together; parts share neither digit nor crop."""

import numpy as np
import pytest
import torch

from clsight.study.tasks import task_named
from clsight.study.tasks.digits import all_digits
from clsight.study.tasks.find_digit import FOR_TRAINING
from clsight.study.tasks.folds import fold
from clsight.study.tasks.scenes import photograph, scenes

SEEDS = range(5)


def drawn(count, background, seed):
    """Return where digits stand and where crops begin, drawn as `scenes` says: `[count, 2]` each."""
    generator = torch.Generator().manual_seed(seed)
    places = 4 * torch.randint(0, 5, (2, count), generator=generator)
    crops = [torch.randint(0, edge - 23, (count,), generator=generator) for edge in background.shape]
    return places.T.tolist(), torch.stack(crops, 1).tolist()


def test_scenes_are_those_of_a_slow_loop():
    digits = torch.rand(7, 8, 8, generator=torch.Generator().manual_seed(1))
    background = torch.rand(40, 31, generator=torch.Generator().manual_seed(2)) / 2
    made = scenes(digits, torch.arange(7), background, torch.Generator().manual_seed(3))
    places, crops = drawn(7, background, 3)
    for sample, ((top, left), (row, column)) in enumerate(zip(places, crops, strict=True)):
        expected, inked = np.zeros((24, 24)), np.zeros(36, dtype=bool)
        for i in range(24):
            for j in range(24):
                behind = float(background[row + i, column + j])
                inside = 0 <= i - top < 8 and 0 <= j - left < 8
                ink = float(digits[sample, i - top, j - left]) if inside else 0.0
                expected[i, j] = behind * (1 - ink) + ink
                inked[i // 4 * 6 + j // 4] |= ink > 0
        np.testing.assert_allclose(made.images[sample], expected, atol=1e-6)
        np.testing.assert_array_equal(made.evidence[sample], inked)


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_photographs_leave_room_for_ink(name):
    picture = photograph(name)
    assert picture.shape == (427, 640)
    assert 0 <= float(picture.min()) < 0.1
    assert 0.5 < float(picture.max()) <= 0.6 + 1e-6


def found_in(image, picture):
    """Return the columns of a picture where the top row of an image occurs, ink apart."""
    strips = picture.unfold(1, 24, 1)  # [row, column, 24]
    same = (strips == image[0]).sum(-1)
    return (same >= 16).nonzero()[:, 1].tolist()


def test_crops_of_a_part_come_from_its_side_of_its_photograph():
    data = task_named("find-digit", {"train": 1, "test": 1}).data(2)
    china, flower = photograph("china.jpg"), photograph("flower.jpg")
    for part, picture, columns in (
        (data.train, china, range(FOR_TRAINING - 23)),
        (data.validation, china, range(FOR_TRAINING, 640 - 23)),
        (data.test, flower, range(640 - 23)),
    ):
        for image in part.inputs[:12]:
            places = found_in(image, picture)
            assert places
            assert set(places) <= set(columns)


def test_digits_are_split_as_in_the_task_digits():
    labels = all_digits()[1]
    for seed in SEEDS:
        chosen = fold(labels.numpy(), seed)
        data = task_named("find-digit", {"train": 2, "test": 1}).data(seed)
        assert torch.equal(data.train.labels, labels[chosen.train].repeat(2))
        assert torch.equal(data.validation.labels, labels[chosen.validation])
        assert torch.equal(data.test.labels, labels[chosen.test])
        assert np.array_equal(np.sort(np.concatenate(chosen)), np.arange(len(labels)))
