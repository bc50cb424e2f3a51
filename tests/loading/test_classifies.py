"""Is what a model returns a score for each class? Its format says, or its user; then no answer is made up."""

import pytest
import torch

import clsight
from clsight.errors import CaptureError, CheckpointError
from clsight.loading import load, subject_of
from clsight_app.views.head import answer_sentence
from doctor.forum_classifier import ClassificationTransformer
from encoder_builders import declare_torchvision_operators, randomize
from huggingface_folders import TEXT_FAMILIES, save_text_model
from loading.test_open_clip_models import MODEL, folder_with
from loading.timm_files import SMALL
from loading.timm_files import folder_with as timm_folder
from user_modules import HEADS, WIDTH, FixedForum, Series

REASON = "the model does not classify: what it returns is no score for each class"


@pytest.fixture(autouse=True)
def operators():
    """Let timm and open_clip import beside a torch that torchvision was not built for."""
    declare_torchvision_operators()


def recorded(subject):
    return clsight.capture(subject, subject.examples)


def without_head(folder):
    return timm_folder(folder, SMALL["registers"][0], {**SMALL["registers"][1], "num_classes": 0})


@pytest.mark.parametrize(
    "write", [lambda at: folder_with(at, MODEL), without_head], ids=["open_clip", "timm"]
)
def test_format_without_classes_gives_no_logits(write, tmp_path):
    write(tmp_path)
    subject = load(tmp_path)
    assert subject.classifies is False
    record = recorded(subject)
    assert "logits" not in record
    assert record.attrs["absent"]["logits"] == REASON
    assert answer_sentence(record) == ""


@pytest.mark.parametrize(("family", "classifies"), [("bert", False), ("bert head", True)])
def test_class_of_transformers_says_whether_it_classifies(family, classifies, tmp_path):
    save_text_model(tmp_path, *TEXT_FAMILIES[family])
    subject = load(tmp_path)
    assert subject.classifies is classifies
    assert ("logits" in recorded(subject)) is classifies


@pytest.mark.parametrize(("module", "classifies"), [(Series(), True), (FixedForum(), False)])
def test_state_dict_classifies_where_it_has_a_head(module, classifies, tmp_path):
    torch.save(randomize(module).state_dict(), tmp_path / "m.pt")
    assert load(tmp_path / "m.pt", heads=HEADS).classifies is classifies


def test_models_of_clsight_classify():
    assert load(clsight.sample_models_dir() / "digits-learned").classifies is True


def test_user_says_that_his_class_gives_no_answer(tmp_path):
    module = randomize(ClassificationTransformer(WIDTH, HEADS, 2))  # returns [CLS], as wide as a token
    assert recorded(subject_of(module)).sizes["class"] == WIDTH
    torch.save(module.state_dict(), tmp_path / "m.pt")
    for subject in (
        subject_of(module, classifies=False),
        load(tmp_path / "m.pt", factory=module, classifies=False),
    ):
        record = recorded(subject)
        assert record.attrs["absent"]["logits"] == REASON
        assert "class" not in record.dims
    assert load(tmp_path / "m.pt", factory=module).classifies is None


def test_what_the_user_says_counts_over_the_format(tmp_path):
    folder_with(tmp_path, MODEL)
    assert load(tmp_path, classifies=True).classifies is True
    with pytest.raises(CheckpointError, match="`classifies`: expected True or False, but got 'no'"):
        load(tmp_path, classifies="no")


def test_function_of_the_caller_counts_over_all():
    subject = subject_of(randomize(Series()), classifies=False)
    record = clsight.capture(subject, subject.examples, output=lambda output: output[:, :2])
    assert record.sizes["class"] == 2
    plain = clsight.capture(subject.module, subject.prepare(subject.examples).inputs, output=False)
    assert plain.attrs["absent"]["logits"] == REASON


def test_gradient_of_an_answer_that_there_is_not_is_refused():
    subject = subject_of(randomize(Series()), classifies=False)
    with pytest.raises(CaptureError, match="output=, a function from the model's output to its logits"):
        clsight.capture(subject, subject.examples, keep="gradient")
