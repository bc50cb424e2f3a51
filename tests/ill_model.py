"""A model in which the doctor finds an error: its answer is read off the first token, which is no [CLS]."""

from pathlib import Path

import numpy as np

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model

NAME = "no-cls"


def save_ill_model(folder: Path) -> Path:
    """Write the model, with four examples, into a folder of that name; return its path."""
    config = ModelConfig(
        classes=3, width=12, heads=2, layers=2, embedding="token", vocabulary=30, strategy="first_token"
    )
    arrays = {"inputs": np.random.default_rng(3).integers(0, 30, (4, 7))}
    save_model(ClassificationTransformer(config), folder / NAME, classes=("a", "b", "c"), arrays=arrays)
    return folder / NAME
