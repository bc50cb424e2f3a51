"""Weights and folders of timm load as what timm itself makes of them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import clsight
from clsight.cls_token import replaced
from clsight.errors import CheckpointError
from encoder_builders import declare_torchvision_operators, timm
from loading.timm_files import SMALL, folder_with

PREFIX = {
    "registers": ["cls", "register", "register", "register", "register"],
    "a distillation token": ["cls", "distillation"],
    "average pooling": [],
}


@pytest.fixture(autouse=True)
def importable_torchvision():
    declare_torchvision_operators()


@pytest.mark.parametrize("case", SMALL)
def test_folder_gives_what_timm_gives(case, tmp_path):
    module = folder_with(tmp_path, *SMALL[case], binary=case == "a class token")
    subject = clsight.load(tmp_path)
    inputs = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        assert torch.equal(subject.module(inputs), module(inputs))
    assert subject.provenance["missing"] == subject.provenance["unexpected"] == {}
    prefix = PREFIX.get(case, ["cls"])
    kinds = subject.prepare(subject.examples).token_kind[0].tolist()
    assert kinds[: len(prefix)] == prefix
    assert kinds[len(prefix) :] == ["patch"] * module.patch_embed.num_patches


@pytest.mark.parametrize("case", SMALL)
def test_captured_maps_are_those_of_timm(case, tmp_path):
    module = folder_with(tmp_path, *SMALL[case])
    subject = clsight.load(tmp_path, cls_index=0)
    found = clsight.capture(subject, subject.examples)
    expected = clsight.capture(module, subject.prepare(subject.examples).inputs)
    assert np.array_equal(found.attends_to.values, expected.attends_to.values)
    assert np.array_equal(found.attended_by.values, expected.attended_by.values, equal_nan=True)
    assert float(found.attention_error.max()) < 1e-5


def test_patches_that_are_not_square_keep_rows_and_columns(tmp_path):
    folder_with(tmp_path, *SMALL["pictures that are not square"])
    prepared = clsight.load(tmp_path).prepare(np.zeros((1, 100, 100, 3), np.uint8))
    assert prepared.inputs.shape == (1, 3, 48, 80)
    assert prepared.token_text[0, :7].tolist() == [
        "[CLS]",
        *[f"patch 0,{column}" for column in range(5)],
        "patch 1,0",
    ]
    assert (prepared.row.max(), prepared.column.max()) == (2, 4)


def test_pictures_are_prepared_as_timm_prepares_them(tmp_path):
    folder_with(tmp_path, *SMALL["a class token"])
    from PIL import Image
    from timm.data.transforms_factory import transforms_imagenet_eval

    picture = np.random.default_rng(0).integers(0, 256, (90, 130, 3)).astype(np.uint8)
    theirs = transforms_imagenet_eval(
        (64, 64), crop_pct=0.9, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)
    )
    found = clsight.load(tmp_path).prepare([picture]).inputs[0]
    assert torch.equal(found, theirs(Image.fromarray(picture)))


def test_models_that_average_have_no_cls_position_unless_it_is_stated(tmp_path):
    folder_with(tmp_path, *SMALL["relative positions"])
    subject = clsight.load(tmp_path)
    assert subject.cls_index is None
    assert subject.provenance["cls"] == (
        "The answer is not read off one token (global_pool=avg). "
        "State cls_index=0 to look at the class token, which it does have"
    )
    assert clsight.load(tmp_path, cls_index=0).cls_index == 0


def test_labels_of_the_folder_become_classes(tmp_path):
    name, options = SMALL["registers"]
    folder_with(tmp_path, name, options, label_names=["a", "b", "c", "d", "e"])
    assert clsight.load(tmp_path).classes == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize("case", ["a class token", "registers", "a distillation token"])
def test_cls_of_a_loaded_model_is_replaced(case, tmp_path):
    folder_with(tmp_path, *SMALL[case])
    subject = clsight.load(tmp_path)
    trained = clsight.capture(subject, subject.examples)
    with replaced(subject, "zeros"):
        zeros = clsight.capture(subject, subject.examples)
    assert float(abs(zeros.attends_to - trained.attends_to).max()) > 1e-3
    assert clsight.capture(subject, subject.examples).identical(trained)


@pytest.fixture
def weights(tmp_path):
    """A file for `timm:test_vit`, the smallest architecture of timm, with four classes."""
    module = timm("test_vit", num_classes=4)()
    file = tmp_path / "weights.safetensors"
    save_file(module.state_dict(), file)
    return module, file


def test_architecture_and_weights_give_what_timm_gives(weights):
    module, file = weights
    subject = clsight.load(file, architecture="timm:test_vit")
    inputs = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        assert torch.equal(subject.module(inputs), module(inputs))
    assert subject.classes == ("0", "1", "2", "3")
    assert subject.provenance["inferred"] == {"classes": 4}
    assert subject.name == "test_vit (weights.safetensors)"
    assert float(clsight.capture(subject, subject.examples).attention_error.max()) < 1e-5


def test_a_tag_chooses_how_pictures_are_prepared(weights):
    subject = clsight.load(weights[1], architecture="timm:test_vit.r160_in1k")
    assert subject.provenance["format"] == "weights of timm:test_vit.r160_in1k, safetensors"


def test_weights_for_larger_pictures_build_a_larger_model(tmp_path):
    module = timm("test_vit", num_classes=4, img_size=192)()
    file = tmp_path / "weights.safetensors"
    save_file(module.state_dict(), file)
    subject = clsight.load(file, architecture="timm:test_vit")
    assert subject.provenance["inferred"] == {"classes": 4, "image_size": (192, 192)}
    inputs = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        assert torch.equal(subject.module(inputs), module(inputs))


def test_weights_of_another_grid_are_resized_as_timm_does_and_said_to_be(tmp_path):
    name, options = SMALL["a class token"]
    larger = timm(name, **{**options, "img_size": 96})()
    smaller = folder_with(tmp_path, name, options)
    save_file(larger.state_dict(), tmp_path / "model.safetensors")
    subject = clsight.load(tmp_path)
    assert subject.provenance["converted"] == (
        "by timm's checkpoint_filter_fn; resized pos_embed [1, 37, 24] → [1, 17, 24]"
    )
    from timm.models.vision_transformer import checkpoint_filter_fn

    smaller.load_state_dict(checkpoint_filter_fn(larger.state_dict(), smaller))
    assert torch.equal(subject.module.pos_embed, smaller.pos_embed)


def test_loading_leaves_the_random_state_of_the_process(weights):
    state = torch.get_rng_state()
    clsight.load(weights[1], architecture="timm:test_vit")
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_for_pictures_that_are_not_square_tell_how_to_state_their_size(tmp_path):
    module = timm("test_vit", img_size=(160, 96))()
    file = tmp_path / "weights.safetensors"
    save_file(module.state_dict(), file)
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(file, architecture="timm:test_vit")
    assert str(refusal.value) == (
        f"`{file}`: expected positions of as many patches as a square picture has, which tells its size, "
        "but got 60 patches. Make the model of the picture's height and width yourself, in Python "
        "factory=lambda: timm.create_model('test_vit', img_size=(height, width)), or name a function that "
        "does with --model package.module:factory."
    )
    subject = clsight.load(file, factory=timm("test_vit", img_size=(160, 96)))
    record = clsight.capture(subject, subject.examples[:1])
    assert (int(record.row.max()), int(record.column.max())) == (9, 5)
