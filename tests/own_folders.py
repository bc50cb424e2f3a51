"""clsight's own model folders, saved small, and what breaks them."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors

from clsight.errors import CheckpointError
from clsight.loading import load
from clsight.models import ModelConfig

IMAGES = ModelConfig(
    classes=3,
    width=8,
    heads=2,
    layers=2,
    feedforward=6,
    embedding="patch",
    image_size=(4, 6),
    patch_size=(2, 2),
    seed=5,
)
SERIES = ModelConfig(classes=2, width=4, heads=1, layers=1, embedding="linear", features=3, max_time=6)
WORDS = ModelConfig(classes=2, width=4, heads=1, layers=1, embedding="token", vocabulary=30, max_time=6)


def images(samples=5):
    return np.random.default_rng(0).random((samples, 4, 6), dtype=np.float32)


def change_config(folder, **changes):
    settings = json.loads((folder / "config.json").read_text())
    settings.update(changes)
    (folder / "config.json").write_text(json.dumps(settings))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_tensors(weights, folder / "model.safetensors")


def message_of(folder):
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    return str(caught.value)
