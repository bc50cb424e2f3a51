"""Weights and folders of open_clip load as what open_clip itself makes of them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import clsight
from clsight.cls_token import replaced
from clsight.errors import CheckpointError
from encoder_builders import declare_torchvision_operators, randomize, words_to_end_of_text

VISION = {"layers": 2, "width": 24, "head_width": 8, "patch_size": 16, "image_size": 48}
TEXT = {"layers": 2, "width": 24, "heads": 3, "context_length": 9, "vocab_size": 50}
MODEL = {"embed_dim": 10, "vision_cfg": VISION, "text_cfg": TEXT}
PREPROCESS = {"size": 48, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "resize_mode": "squash"}
CASES = {
    "plain": MODEL,
    "the activation of OpenAI's weights": {**MODEL, "quick_gelu": True},
    "towers apart": {**MODEL, "custom_text": True},
    "pictures that are not square": {**MODEL, "vision_cfg": {**VISION, "image_size": [32, 64]}},
    "fixed positions": {**MODEL, "vision_cfg": {**VISION, "pos_embed_type": "sin_cos_2d", "no_ln_pre": True}},
    "average pooling": {**MODEL, "vision_cfg": {**VISION, "pool_type": "avg"}},
}


@pytest.fixture(autouse=True)
def importable_torchvision():
    declare_torchvision_operators()


def folder_with(folder, model, *, preprocess=PREPROCESS):
    """Write a folder as open_clip does, and return the module that is in it."""
    import open_clip

    args = {key: value for key, value in model.items() if key != "custom_text"}
    make = open_clip.CustomTextCLIP if model.get("custom_text") else open_clip.CLIP
    module = randomize(make(**args))
    save_file(module.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return module


@pytest.mark.parametrize("case", CASES)
def test_folder_gives_what_open_clip_gives(case, tmp_path):
    module = folder_with(tmp_path, CASES[case])
    subject = clsight.load(tmp_path, cls_index=0)
    inputs = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        assert torch.equal(subject.module.encode_image(**inputs), module.encode_image(**inputs))
    assert subject.provenance["missing"] == subject.provenance["unexpected"] == {}
    assert subject.within == "visual"
    found = clsight.capture(subject, subject.examples)
    expected = clsight.capture(module, inputs, within="visual")
    assert np.array_equal(found.attends_to.values, expected.attends_to.values)
    assert float(found.attention_error.max()) < 1e-5
    grid = module.visual.grid_size
    assert found.token_kind[0].values.tolist() == ["cls"] + ["patch"] * (grid[0] * grid[1])
    assert (int(found.row.max()), int(found.column.max())) == (grid[0] - 1, grid[1] - 1)


def test_pictures_are_prepared_as_open_clip_prepares_them(tmp_path):
    folder_with(tmp_path, MODEL)
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (90, 130, 3)).astype(np.uint8)
    theirs = image_transform_v2(PreprocessCfg(**PREPROCESS), is_train=False)
    found = clsight.load(tmp_path).prepare([picture]).inputs["image"][0]
    assert torch.equal(found, theirs(Image.fromarray(picture)))


def test_a_tower_that_averages_has_no_cls_position_unless_it_is_stated(tmp_path):
    folder_with(tmp_path, CASES["average pooling"])
    subject = clsight.load(tmp_path)
    assert subject.cls_index is None
    assert subject.provenance["cls"] == (
        "The answer is an average over patches. State cls_index=0 to look at the class token"
    )


@pytest.mark.parametrize(("case", "tower"), [("plain", "transformer"), ("towers apart", "text")])
def test_the_text_tower_is_seen_in_the_way_that_the_provenance_tells(case, tower, tmp_path):
    folder_with(tmp_path, CASES[case])
    subject = clsight.load(tmp_path)
    assert f"within='{tower}'" in subject.provenance["tower"]
    ids = words_to_end_of_text()["input_ids"]
    record = clsight.capture(subject.module, {"text": ids}, within=tower, cls_index=ids.argmax(-1).tolist())
    assert record.sizes["token"] == 9
    assert float(record.attention_error.max()) < 1e-5


def test_cls_of_a_loaded_model_is_replaced(tmp_path):
    folder_with(tmp_path, MODEL)
    subject = clsight.load(tmp_path)
    trained = clsight.capture(subject, subject.examples)
    with replaced(subject, "random_per_forward"):
        other = clsight.capture(subject, subject.examples)
    assert float(abs(other.attends_to - trained.attends_to).max()) > 1e-3
    assert clsight.capture(subject, subject.examples).identical(trained)


@pytest.mark.slow
def test_architecture_and_weights_give_what_open_clip_gives(tmp_path):
    import open_clip

    module = open_clip.create_model("ViT-S-32-alt").eval()
    file = tmp_path / "weights.pt"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in module.state_dict().items()}}, file)
    subject = clsight.load(file, architecture="open_clip:ViT-S-32-alt")
    inputs = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        assert torch.equal(subject.module.encode_image(**inputs), module.encode_image(**inputs))
    assert subject.name == "ViT-S-32-alt (weights.pt)"
    assert float(clsight.capture(subject, subject.examples).attention_error.max()) < 1e-5


def refusal(*given, **options):
    with pytest.raises(CheckpointError) as refused:
        clsight.load(*given, **options)
    return str(refused.value)


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "ViT-B-33", "/etc/passwd"])
def test_a_name_that_open_clip_does_not_list_is_refused(name, tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(3)}, file)
    says = refusal(file, architecture=f"open_clip:{name}")
    assert f"expected a name in open_clip.list_models(), but got `{name}`" in says


@pytest.mark.parametrize(
    ("name", "tower"),
    [
        ("ViT-B-16-SigLIP", "a vision tower of timm (vit_base_patch16_siglip_224)"),
        ("RN50", "a vision tower of convolutions (ResNet)"),
        ("roberta-ViT-B-32", "a text tower of transformers (roberta-base)"),
        ("coca_ViT-B-32", "a third, multimodal tower (CoCa)"),
    ],
)
def test_towers_of_other_libraries_are_refused(name, tower, tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(3)}, file)
    assert f"open_clip's own transformers, but got {tower}." in refusal(
        file, architecture=f"open_clip:{name}"
    )


def test_weights_of_a_larger_architecture_are_refused_before_it_is_built(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(3)}, file)
    assert "numbers of ViT-bigG-14, but got 3." in refusal(file, architecture="open_clip:ViT-bigG-14")


def vision(**changes):
    return {"model_cfg": {**MODEL, "vision_cfg": {**VISION, **changes}}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_cfg": 3}, "`model_cfg` and `preprocess_cfg` as tables"),
        ({"model_cfg": {}}, "no `vision_cfg` and `text_cfg`"),
        ({"model_cfg": {**MODEL, "embed_dim": 10**9}}, "`embed_dim`"),
        (
            {"model_cfg": {**MODEL, "cast_dtype": "float16"}},
            "settings that clsight knows, but got `cast_dtype`",
        ),
        (vision(layers=10**9), "`vision_cfg.layers`"),
        (vision(image_size=10**9), "`vision_cfg.image_size`"),
        (
            {"model_cfg": {**MODEL, "vision_cfg": {**VISION, "norm_kwargs": {"x": 1}}}},
            "`vision_cfg.norm_kwargs`",
        ),
        (vision(act_kwargs={}), "`vision_cfg.act_kwargs`"),
        (
            {"model_cfg": {**MODEL, "vision_cfg": {**VISION, "patch_size": 7, "layers": "2"}}},
            "vision_cfg.layers",
        ),
        ({"model_cfg": {**MODEL, "text_cfg": {**TEXT, "vocab_size": 10**12}}}, "`text_cfg.vocab_size`"),
        ({"model_cfg": {**MODEL, "text_cfg": {**TEXT, "heads": 7}}}, "settings that open_clip can build"),
        ({"preprocess_cfg": {"mean": "abc"}}, "`preprocess_cfg.mean`"),
        ({"preprocess_cfg": {"interpolation": "magic"}}, "`preprocess_cfg.interpolation`"),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(changes, says, tmp_path):
    folder_with(tmp_path, MODEL)
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS, **changes}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert says in refusal(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    folder_with(tmp_path, MODEL)
    (tmp_path / "open_clip_model.safetensors").unlink()
    assert "but got none of them" in refusal(tmp_path)
