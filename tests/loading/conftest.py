"""Fixtures of the tests of loading."""

import numpy as np
import pytest

from clsight.models import ClassificationTransformer
from clsight.saving import save_model
from own_folders import IMAGES, images


@pytest.fixture
def folder(tmp_path):
    """Return a saved model folder with examples."""
    arrays = {"inputs": images(), "labels": np.array([2, 0, 1, 1, 0])}
    path = tmp_path / "small-model"
    save_model(ClassificationTransformer(IMAGES), path, classes=("ant", "bee", "cat"), arrays=arrays)
    return path
