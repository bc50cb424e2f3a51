"""Pictures as the image processors of transformers make them, and the tokens that they become."""

import json
from importlib import import_module

import numpy as np
import pytest
import torch

import clsight
from clsight.errors import CaptureError, CheckpointError
from clsight.loading.huggingface_pictures import picture_side
from huggingface_folders import PICTURE_FAMILIES, SQUARE, made_model, save_model

SHORT = dict(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32})
SQUASHED = dict(size={"height": 32, "width": 32})
CUT = dict(size={"height": 40, "width": 40}, do_center_crop=True, crop_size={"height": 32, "width": 32})


def picture():
    return np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)


def processor(family, **settings):
    """Return transformers' own image processor, the one that needs Pillow alone."""
    home = import_module(f"transformers.models.{family}.image_processing_pil_{family}")
    return next(getattr(home, name) for name in home.__all__ if name.endswith("Pil"))(**settings)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("vit", SQUASHED),
        ("vit", dict(resample=3, do_normalize=False, **SQUASHED)),
        ("clip", SHORT),
        ("bit", SHORT),
        ("beit", CUT),
        ("deit", CUT),
        ("siglip", SQUASHED),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_pictures_are_those_of_transformers(tmp_path, family, settings, nested):
    from PIL import Image

    module = made_model("ViTModel", "ViTConfig", SQUARE)
    theirs = processor(family, **settings)
    theirs.save_pretrained(tmp_path)
    if nested:  # as a processor of text and pictures keeps them
        written = json.loads((tmp_path / "preprocessor_config.json").read_text())
        (tmp_path / "preprocessor_config.json").unlink()
        (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": written}))
    side = picture_side(module, tmp_path)
    wanted = theirs(Image.fromarray(picture()), return_tensors="pt")["pixel_values"]
    found = side.preparation(side.reading(picture())).inputs["pixel_values"]
    assert torch.equal(found, wanted)
    assert "assumed" not in side.provenance


@pytest.mark.parametrize(
    ("kind", "value", "short"), [("ViTFeatureExtractor", 32, False), ("CLIPFeatureExtractor", 36, True)]
)
def test_sizes_of_old_folders_are_one_number(tmp_path, kind, value, short):
    settings = {"feature_extractor_type": kind, "size": value, "resample": 2}
    if short:
        settings |= {"crop_size": 32, "do_center_crop": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    side = picture_side(made_model("ViTModel", "ViTConfig", SQUARE), tmp_path)
    prepared = side.preparation(side.reading(picture()))
    assert prepared.inputs["pixel_values"].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("family", ["vit", "dinov2", "deit"])
def test_pictures_of_another_size_stretch_the_positions(tmp_path, family):
    save_model(tmp_path, *PICTURE_FAMILIES[family][:2], SQUARE)
    settings = processor("vit", size={"height": 40, "width": 64})
    settings.save_pretrained(tmp_path)
    subject = clsight.load(tmp_path)
    record = clsight.capture(subject, picture())
    assert float(record.attention_error.max()) < 1e-5
    assert int(record.row.max()) == 4
    assert int(record.column.max()) == 7


def test_rows_and_columns_are_those_of_the_picture(tmp_path):
    """The patch that a white spot falls into is the one whose embedding changes."""
    save_model(tmp_path, *PICTURE_FAMILIES["vit"])
    subject = clsight.load(tmp_path)
    black = np.zeros((1, 32, 48, 3), dtype=np.uint8)
    spot = black.copy()
    spot[:, 8:16, 24:32] = 255
    with torch.no_grad():
        before, after = (
            subject.module.embeddings.patch_embeddings(subject.prepare(one).inputs["pixel_values"])
            for one in (black, spot)
        )
    (changed,) = (before != after).any(dim=2)[0].nonzero().tolist()
    prepared = subject.prepare(spot)
    place = changed[0] + 1
    assert (prepared.row[0, place], prepared.column[0, place]) == (1, 3)
    assert prepared.token_text[0, place] == "patch 1,3"


def test_a_model_without_class_token_says_so(tmp_path):
    save_model(tmp_path, "SiglipVisionModel", "SiglipVisionConfig", SQUARE)
    subject = clsight.load(tmp_path)
    assert (subject.cls_index, subject.token_kinds) == (None, ("patch",))
    with pytest.raises(CaptureError) as refusal:
        clsight.capture(subject, subject.examples)
    assert str(refusal.value).endswith(
        "expected a model with a CLS position, but got one without. The model has no class token; its "
        "answer is read off all patches. Pass cls_index= to look at an ordinary token as if it were CLS."
    )
    assert clsight.capture(subject, subject.examples, cls_index=0).sizes["token"] == 16


def test_a_classifier_that_averages_says_so(tmp_path):
    save_model(tmp_path, *PICTURE_FAMILIES["beit head"])
    assert clsight.load(tmp_path).provenance["cls"].startswith("The answer is the average over patches")


@pytest.mark.parametrize(
    ("model", "config", "options", "got"),
    [
        (
            "SwinModel",
            "SwinConfig",
            dict(image_size=32, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[1, 2], window_size=2),
            "with stages",
        ),
        ("ViTMAEModel", "ViTMAEConfig", SQUARE, "drops and shuffles"),
        ("ViTModel", "ViTConfig", dict(num_channels=1, **SQUARE), "other colors"),
    ],
)
def test_a_model_without_one_sequence_of_patches_is_refused(tmp_path, model, config, options, got):
    save_model(tmp_path, model, config, options)
    with pytest.raises(CheckpointError, match=got):
        clsight.load(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": 10**9, "width": 4}},
        {"size": {"shortest_edge": 32}},
        {"size": {"shortest_edge": 32, "longest_edge": 64}},
        {"size": "large"},
        {"size": -3},
        {"size": {"height": 2, "width": 2}},
        {"resample": 9},
        {"resample": "x"},
        {"image_mean": [0, 0]},
        {"image_std": [0, 0, 0]},
        {"image_std": "x"},
        {"do_rescale": False},
        {"rescale_factor": 1},
        {"rescale_factor": 0},
        {"do_resize": "x"},
        {"auto_map": {"AutoImageProcessor": "code.Processor"}},
        {"image_processor": 3},
        {"do_center_crop": True, "crop_size": {"height": 0, "width": 3}},
    ],
    ids=str,
)
def test_settings_of_pictures_that_make_no_sense_are_refused(tmp_path, settings):
    save_model(tmp_path, *PICTURE_FAMILIES["vit"])
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 32, **settings}))
    with pytest.raises(CheckpointError):
        clsight.load(tmp_path)
