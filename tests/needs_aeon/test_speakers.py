"""The task speakers on the data that aeon ships: `make test-speakers`, in an environment of its own."""

import numpy as np
import torch
from aeon.datasets import load_japanese_vowels

from clsight.study import RunSettings
from clsight.study.tasks import task_named
from clsight.study.training import train


def test_series_are_those_of_aeon_with_padding_after_their_end():
    series, names = load_japanese_vowels(split="test")
    test = task_named("speakers").data(0).test
    assert (len(test), tuple(test.inputs.shape[1:])) == (370, (29, 12))
    for sample in range(370):
        length = series[sample].shape[1]
        np.testing.assert_array_equal(test.inputs[sample, :length].T, series[sample].astype(np.float32))
        assert not test.inputs[sample, length:].any()
        assert test.token_mask[sample].tolist() == [True] * length + [False] * (29 - length)
        assert int(test.labels[sample]) + 1 == int(names[sample])


def test_seeds_split_the_training_series_and_share_the_test():
    one, other = (task_named("speakers").data(seed) for seed in (0, 1))
    assert (len(one.train), len(one.validation)) == (216, 54)
    assert torch.bincount(one.validation.labels).tolist() == [6] * 9
    assert not torch.equal(one.train.inputs, other.train.inputs)
    assert torch.equal(one.test.inputs, other.test.inputs)
    together = torch.cat((one.train.inputs, one.validation.inputs)).flatten(1)
    assert len(together.unique(dim=0)) == 270


def test_a_small_model_learns_who_speaks():
    settings = RunSettings(
        task="speakers", layers=1, width=32, heads=4, feedforward=64, epochs=25, batch=32, learning_rate=5e-3
    )
    result = train(settings, task_named("speakers"), evaluate="test", probe_steps=3)
    assert result.outcome["accuracy"] > 0.9  # chance: 0.12
    padding = ~result.record["token_mask"]
    assert float(result.record["attends_to"].where(padding).fillna(0).max()) == 0.0
