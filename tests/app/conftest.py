"""The sample models, as the app holds them."""

import pytest

import clsight
from clsight_app.catalog import Catalog

MODELS = ("digits-learned", "digits-zeros", "digits-fixed-random", "digits-random-per-forward")


@pytest.fixture(scope="session")
def sample_paths():
    """Return the folders of the four sample models, `digits-learned` first."""
    return [clsight.sample_models_dir() / name for name in MODELS]


@pytest.fixture(scope="session")
def catalog(sample_paths):
    """Return a catalog of the four sample models that the tests of a session share."""
    return Catalog(sample_paths)
