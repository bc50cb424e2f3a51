"""A model folder is saved whole or not at all."""

from dataclasses import replace

import pytest

from clsight.checkpoints import read_model
from clsight.errors import CheckpointError
from clsight.loading import load
from clsight.models import ClassificationTransformer
from clsight.saving import replacing_folder, save_model
from own_folders import IMAGES


def write_half_of(folder):
    with replacing_folder(folder, overwrite=True) as new:
        (new / "half").write_text("written")
        raise KeyboardInterrupt


def test_save_takes_no_name_that_is_taken(folder, tmp_path):
    model = ClassificationTransformer(IMAGES)
    with pytest.raises(
        CheckpointError, match="expected a free name to save to, but got a clsight model folder"
    ):
        save_model(model, folder)
    (tmp_path / "thesis").mkdir()
    with pytest.raises(CheckpointError, match="but got something else of that name"):
        save_model(model, tmp_path / "thesis", overwrite=True)


def test_taken_name_is_refused_before_the_work_is_done(folder):
    with pytest.raises(CheckpointError, match="expected a free name to save to"):
        replacing_folder(folder).__enter__()


def test_read_model_gives_the_model_in_eval_mode(folder):
    assert not read_model(folder).model.training


def test_save_replaces_the_whole_folder_when_asked(folder):
    save_model(ClassificationTransformer(replace(IMAGES, seed=6)), folder, overwrite=True)
    assert load(folder).seed == 6
    assert load(folder).examples is None


def test_failed_save_leaves_what_was_there_and_nothing_else(folder, tmp_path):
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(CheckpointError, match="expected 3 class names in `classes`, but got 1 of them"):
        save_model(ClassificationTransformer(IMAGES), folder, classes=("one",), overwrite=True)
    with pytest.raises(KeyboardInterrupt):
        write_half_of(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["small-model"]
