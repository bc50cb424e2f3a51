"""A small untrained model of token ids; its folder and classes have names that a page must show literally."""

from pathlib import Path

import numpy as np

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model

NAME = "<img src=x onerror=alert(1)> & $x$ שלום 🙂"
CLASSES = ("<b>bold</b>", "</s>", '<a href="https://example.com">link</a>')


def save_hostile_model(folder: Path) -> Path:
    """Write the model, with three padded examples, into a folder of that name; return its path."""
    config = ModelConfig(
        classes=3, width=12, heads=2, layers=2, embedding="token", vocabulary=30, max_time=7, seed=5
    )
    ids = np.random.default_rng(3).integers(0, 30, (3, 7))
    mask = np.arange(7) < np.array([[7], [5], [6]])
    arrays = {"inputs": ids, "labels": np.array([0, 1, 2]), "token_mask": mask}
    save_model(ClassificationTransformer(config), folder / NAME, classes=CLASSES, arrays=arrays)
    return folder / NAME
