"""State dicts of classes drawn at random: the maps are those of the class itself, or the file is refused."""

import numpy as np
import pytest
import torch

import clsight
from clsight.errors import CheckpointError
from encoder_builders import randomize
from random_user_modules import HEADS, RandomClassifier, draw

SEEDS, FEWEST = 120, 100


def loaded(path, drawn):
    """Return the subject of a file, or the sentence that refuses it."""
    norm = "pre" if drawn.choice["pre"] else "post"
    activation = "gelu" if drawn.choice["gelu"] else "relu"
    try:
        return clsight.load(path, heads=HEADS, norm=norm, activation=activation), ""
    except CheckpointError as error:
        return None, str(error)


@pytest.mark.slow
def test_reconstruction_is_right_or_refused_whatever_the_names(tmp_path):
    refused = []
    for seed in range(SEEDS):
        drawn = draw(seed)
        module = randomize(RandomClassifier(drawn))
        torch.save(module.state_dict(), tmp_path / "m.pt")
        subject, sentence = loaded(tmp_path / "m.pt", drawn)
        if subject is None:
            refused.append(sentence)
            continue
        examples, told = subject.examples[:2], str((seed, drawn))
        own = clsight.capture(module, subject.prepare(examples).inputs)
        record = clsight.capture(subject, examples)
        assert record.attends_to.shape == own.attends_to.shape, told
        np.testing.assert_allclose(record.attends_to, own.attends_to, atol=1e-6, err_msg=told)
        np.testing.assert_allclose(record.attended_by, own.attended_by, atol=1e-6, err_msg=told)
        np.testing.assert_allclose(record.logits, own.logits, atol=1e-4, err_msg=told)
    assert len(refused) <= SEEDS - FEWEST
    assert all("Pass your own class" in sentence for sentence in refused)
