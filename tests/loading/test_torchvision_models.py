"""Weights of torchvision's vision transformers load without torchvision, and give torchvision's numbers."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import clsight
from clsight.cls_token import replaced
from clsight.errors import CheckpointError, ClsightError
from clsight.loading.torchvision_models import VARIANTS
from encoder_builders import declare_torchvision_operators, randomize

CLASSES, SIZE = 7, 96  # 3 × 3 patches of 32 pixels


@pytest.fixture(scope="module")
def theirs():
    declare_torchvision_operators()
    from torchvision.models import vit_b_32

    return randomize(vit_b_32(num_classes=CLASSES, image_size=SIZE))


def published(name):
    return name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")


@pytest.fixture(scope="module")
def weights(theirs, tmp_path_factory):
    """A file as torchvision publishes them: there the maps are called linear_1 and linear_2."""
    file = tmp_path_factory.mktemp("torchvision") / "weights.pth"
    torch.save({published(name): tensor for name, tensor in theirs.state_dict().items()}, file)
    return file


@pytest.fixture(scope="module")
def subject(weights):
    return clsight.load(weights, architecture="torchvision:vit_b_32")


@pytest.mark.slow
def test_subject_returns_what_torchvision_returns(subject, theirs):
    inputs = subject.prepare(subject.examples).inputs
    with torch.no_grad():
        assert torch.equal(subject.module(inputs), theirs(inputs))


@pytest.mark.slow
def test_captured_maps_are_those_of_torchvision(subject, theirs):
    found = clsight.capture(subject, subject.examples)
    expected = clsight.capture(theirs, subject.prepare(subject.examples).inputs)
    assert np.array_equal(found.attends_to.values, expected.attends_to.values)
    assert float(found.attention_error.max()) < 1e-5
    assert found.class_name.values.tolist() == [str(number) for number in range(CLASSES)]


@pytest.mark.slow
def test_subject_says_what_it_is(subject, weights):
    assert (subject.name, subject.cls_index, subject.takes) == ("vit_b_32 (weights.pth)", 0, "image")
    assert subject.token_kinds == ("cls", "patch")
    assert subject.provenance["inferred"] == {"image_size": SIZE, "classes": CLASSES}
    assert subject.provenance["missing"] == subject.provenance["unexpected"] == {}
    assert len(subject.provenance["sha256"]) == 64
    prepared = subject.prepare(subject.examples)
    assert prepared.token_text[0].tolist()[:4] == ["[CLS]", "patch 0,0", "patch 0,1", "patch 0,2"]
    assert prepared.row[0].tolist() == [-1, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert prepared.column[0].tolist() == [-1, 0, 1, 2, 0, 1, 2, 0, 1, 2]


@pytest.mark.slow
def test_pictures_of_any_size_fit(subject):
    picture = np.full((130, 90, 3), 200, dtype=np.uint8)
    record = clsight.capture(subject, [picture])
    assert record.sizes["token"] == 10


@pytest.mark.slow
def test_cls_of_a_loaded_model_is_replaced(subject):
    trained = clsight.capture(subject, subject.examples)
    with replaced(subject, "zeros"):
        zeros = clsight.capture(subject, subject.examples)
    assert float(abs(zeros.attends_to - trained.attends_to).max()) > 1e-3
    assert clsight.capture(subject, subject.examples).identical(trained)


@pytest.mark.slow
def test_weights_in_half_precision_and_a_lightning_wrapping_load(theirs, tmp_path):
    tensors = {f"model.{name}": tensor.bfloat16() for name, tensor in theirs.state_dict().items()}
    file = tmp_path / "half.safetensors"
    save_file(tensors, file)
    subject = clsight.load(file, architecture="torchvision:vit_b_32")
    assert subject.module.class_token.dtype == torch.bfloat16
    assert subject.prepare(subject.examples).inputs.dtype == torch.bfloat16
    assert clsight.capture(subject, subject.examples).sizes["layer"] == 12


NO_TORCHVISION = """
import json, sys
sys.modules["torchvision"] = None  # an import of it fails
import clsight
subject = clsight.load(sys.argv[1], architecture="torchvision:vit_b_32")
print(json.dumps(clsight.capture(subject, subject.examples[0]).attends_to.values[0, 0, 0].tolist()))
"""


@pytest.mark.slow
def test_weights_load_without_torchvision(weights, subject):
    command = [sys.executable, "-W", "error", "-c", NO_TORCHVISION, str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = clsight.capture(subject, subject.examples[0]).attends_to.values[0, 0, 0]
    assert np.allclose(json.loads(done.stdout), expected, atol=1e-6)  # another number of threads


def file_with(folder, tensors):
    file = folder / "weights.safetensors"
    save_file(tensors, file)
    return file


HEAD = {"heads.head.weight": torch.zeros(5, 768)}
POSITION = {"encoder.pos_embedding": torch.zeros(1, 10, 768)}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({**HEAD}, "[1, 1 + patches, 768], patches a square, but got no such tensor. Check that"),
        ({**HEAD, "encoder.pos_embedding": torch.zeros(1, 11, 768)}, "a square, but got [1, 11, 768]."),
        ({**HEAD, "encoder.pos_embedding": torch.zeros(1, 1, 768)}, "a square, but got [1, 1, 768]."),
        (
            {**HEAD, "encoder.pos_embedding": torch.zeros(1, 200**2 + 1, 1)},
            "a square, but got [1, 40001, 1].",
        ),
        (POSITION, "classes, channels], but got no such tensor. For a model without this head pass factory="),
        (
            {**POSITION, "heads.head.weight": torch.zeros(200_001, 1)},
            "classes, channels], but got [200001, 1].",
        ),
        ({**POSITION, **HEAD}, "expected the module's 152 tensors"),
    ],
)
def test_weights_of_another_shape_are_refused_before_anything_large_is_built(tensors, says, tmp_path):
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(file_with(tmp_path, tensors), architecture="torchvision:vit_b_32")
    assert says in str(refusal.value)


@pytest.mark.slow
def test_a_file_without_one_layer_is_refused(theirs, tmp_path):
    tensors = {name: tensor for name, tensor in theirs.state_dict().items() if "layer_3." not in name}
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(file_with(tmp_path, tensors), architecture="torchvision:vit_b_32")
    assert "expected all of the module's 152" in str(refusal.value)
    assert "`encoder.layers.encoder_layer_3.ln_1.weight`" in str(refusal.value)


def test_an_unknown_architecture_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(CheckpointError) as refusal:
        clsight.load(file_with(tmp_path, HEAD), architecture="torchvision:vit_b16")
    assert str(refusal.value) == (
        "`architecture`: expected a vision transformer of torchvision, but got `vit_b16`. "
        f"Did you mean `vit_b_16`? Options: {', '.join(sorted(VARIANTS))}."
    )


def test_an_option_stated_in_vain_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="`heads`: expected no such option for weights of torchvision"):
        clsight.load(file_with(tmp_path, HEAD), architecture="torchvision:vit_b_16", heads=4)


@pytest.mark.slow
def test_what_is_no_picture_is_refused(subject, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    for raw in (
        str(broken),
        np.zeros((4, 4, 3)),
        [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)],
    ):
        with pytest.raises(ClsightError):
            subject.prepare(raw)
