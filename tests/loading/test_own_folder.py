"""A saved model comes back as it was."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import clsight
from clsight.errors import CheckpointError, ClsightError
from clsight.loading import Examples, load, sample_models_dir
from clsight.models import ClassificationTransformer
from clsight.saving import save_model
from own_folders import IMAGES, SERIES, WORDS, images, message_of


@pytest.mark.parametrize(
    "strategy", ["learned", "zeros", "fixed_random", "random_per_forward", "mean_pooling"]
)
@pytest.mark.parametrize("config", [IMAGES, replace(IMAGES, norm="post", bias=False, position="none")])
def test_load_gives_the_saved_model_bit_for_bit(tmp_path, config, strategy):
    model = ClassificationTransformer(replace(config, strategy=strategy)).eval()
    save_model(model, tmp_path / "m")
    subject = load(tmp_path / "m")
    x = torch.from_numpy(images())
    with torch.no_grad():
        assert torch.equal(subject.module(x), model(x))
    assert not subject.module.training
    assert all(weight.device.type == "cpu" for weight in subject.module.state_dict().values())


def test_load_gives_trainable_weights(folder):
    module = load(folder).module
    module(torch.from_numpy(images())).sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())


def test_load_keeps_half_and_double_weights(tmp_path):
    for dtype in (torch.bfloat16, torch.float64):
        model = ClassificationTransformer(replace(IMAGES, strategy="fixed_random")).to(dtype)
        save_model(model, tmp_path / str(dtype))
        subject = load(tmp_path / str(dtype))
        assert {weight.dtype for weight in subject.module.state_dict().values()} == {dtype}
        assert subject.module(subject.prepare(images()).inputs).dtype == dtype


def test_load_names_what_belongs_to_the_model(folder):
    subject = load(folder)
    assert (subject.name, subject.strategy, subject.seed, subject.cls_index) == (
        "small-model",
        "learned",
        5,
        0,
    )
    assert subject.classes == ("ant", "bee", "cat")
    np.testing.assert_array_equal(subject.examples.inputs, images())
    np.testing.assert_array_equal(subject.examples.labels, [2, 0, 1, 1, 0])


def test_provenance_holds_the_checksum_of_the_weights(folder):
    provenance = load(folder).provenance
    assert provenance["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert provenance["path"] == str(folder)
    assert json.loads(json.dumps(provenance)) == provenance


def test_load_works_without_examples_and_class_names(tmp_path):
    save_model(ClassificationTransformer(IMAGES), tmp_path / "m")
    subject = load(tmp_path / "m")
    assert subject.examples is None
    assert subject.classes == ("0", "1", "2")


def test_reseed_repeats_a_random_subject(tmp_path):
    save_model(ClassificationTransformer(replace(IMAGES, strategy="random_per_forward")), tmp_path / "m")
    subject = load(tmp_path / "m")
    x = subject.prepare(images()).inputs
    first, second = subject.module(x), subject.module(x)
    subject.reseed()
    assert torch.equal(subject.module(x), first)
    assert not torch.equal(first, second)


def test_load_runs_no_pickle(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR.")
    assert "expected a whole safetensors file" in message_of(folder)
    assert not list(tmp_path.rglob("hacked"))


def test_sample_models_dir_is_the_checkouts(request):
    assert sample_models_dir() == request.config.rootpath / "sample_models"
    assert clsight.sample_models_dir is sample_models_dir


def test_sample_models_dir_is_the_packages_in_an_installation(folder, tmp_path, monkeypatch):
    installed = tmp_path / "lib" / "site-packages" / "clsight"
    installed.mkdir(parents=True)
    monkeypatch.setattr("clsight.loading.own_folder.__file__", str(installed / "loading" / "own_folder.py"))
    with pytest.raises(CheckpointError, match="`sample models`: expected model folders in"):
        sample_models_dir()
    shutil.copytree(folder, installed / "sample_models" / "small-model")
    assert sample_models_dir() == installed / "sample_models"


@pytest.fixture
def shown(folder, tmp_path):
    """Return a model of images, one image, and a folder with it in files."""
    image = images()[0]
    np.save(tmp_path / "one.npy", image)
    np.savetxt(tmp_path / "one.csv", image, delimiter=",")
    np.savetxt(tmp_path / "one.txt", image)
    return load(folder), image, tmp_path


def test_image_is_an_array_or_a_file_of_numbers(shown):
    subject, image, files = shown
    own = clsight.capture(subject, Examples(image[None]))
    for raw in (image, torch.from_numpy(image), files / "one.npy", str(files / "one.csv"), files / "one.txt"):
        record = clsight.capture(subject, raw)
        np.testing.assert_allclose(record.attends_to, own.attends_to, atol=1e-6)
    assert subject.prepare([image, files / "one.npy"]).inputs.shape == (2, 4, 6)
    assert subject.prepare(images()).inputs.shape == (5, 4, 6)


def test_picture_enters_as_brightness_at_the_size_of_the_model(shown):
    from PIL import Image

    subject, _, files = shown
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[:, :6, 1] = 255  # the left half is green
    Image.fromarray(pixels).save(files / "green.png")
    read = subject.prepare(files / "green.png").inputs
    assert read.shape == (1, 4, 6)
    np.testing.assert_allclose(read[0, :, 0], 0.587, atol=1e-3)
    np.testing.assert_allclose(read[0, :, -1], 0.0, atol=1e-3)


@pytest.mark.parametrize(
    ("config", "raw", "shape"),
    [(WORDS, "3 1 4", (1, 3)), (WORDS, ["3 1", "4 1"], (2, 2)), (SERIES, np.zeros((5, 3)), (1, 5, 3))],
)
def test_ids_and_series_are_read_as_in_other_formats(tmp_path, config, raw, shape):
    save_model(ClassificationTransformer(config), tmp_path / "m")
    assert load(tmp_path / "m").prepare(raw).inputs.shape == shape


def test_image_of_another_size_is_refused(shown):
    subject, image, _ = shown
    with pytest.raises(ClsightError, match=r"expected numbers \[sample, height=4, width=6\], but got"):
        subject.prepare(image.T)
    with pytest.raises(ClsightError, match="expected samples of one shape"):
        subject.prepare([image, image.T])
    with pytest.raises(ClsightError, match="No such file"):
        subject.prepare("absent.npy")
