"""Pictures become what the libraries' own transforms make of them."""

import numpy as np
import pytest
from PIL import Image

from clsight.errors import CheckpointError
from clsight.loading.picture_transform import PictureTransform
from encoder_builders import declare_torchvision_operators

SHAPES = [(40, 60), (61, 37), (50, 50), (20, 90), (12, 17)]


def picture(height, width, seed=0):
    """Return smooth color gradients with some noise, uint8 [height, width, 3]."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    smooth = np.stack((rows, columns, rows * columns), axis=-1) * 200
    return (smooth + generator.integers(0, 50, smooth.shape)).astype(np.uint8)


def timm_transform(shape, **options):
    declare_torchvision_operators()
    from timm.data.transforms_factory import transforms_imagenet_eval

    return transforms_imagenet_eval(shape, **options)


def torchvision_preset(**options):
    declare_torchvision_operators()
    from torchvision.transforms._presets import ImageClassification

    return ImageClassification(**options)


def open_clip_transform(size, **options):
    declare_torchvision_operators()
    from open_clip.transform import image_transform

    return image_transform(size, is_train=False, **options)


@pytest.mark.parametrize("shape", SHAPES)
def test_shortest_is_what_torchvision_makes(shape):
    ours = PictureTransform(resize=(34, 34), size=(28, 28), interpolation="bilinear")
    theirs = torchvision_preset(crop_size=28, resize_size=34)
    image = picture(*shape)
    assert np.array_equal(ours(image[None])[0], theirs(Image.fromarray(image)).numpy())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(28, 28), (20, 32)])
def test_each_fit_is_what_timm_makes(shape, mode, size):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    theirs = timm_transform(size, crop_pct=0.9, crop_mode=mode, interpolation="bicubic", mean=mean, std=std)
    ours = PictureTransform(
        resize=tuple(int(edge / 0.9) for edge in size),
        size=size,
        fit={"center": "shortest", "squash": "squash", "border": "longest"}[mode],
        mean=mean,
        std=std,
        fill=tuple(round(255 * value) for value in mean) if mode == "border" else (0, 0, 0),
    )
    image = picture(*shape)
    assert np.array_equal(ours(image[None])[0], theirs(Image.fromarray(image)).numpy())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_each_fit_is_what_open_clip_makes(shape, mode):
    theirs = open_clip_transform(28, mean=(0.5,) * 3, std=(0.25,) * 3, resize_mode=mode)
    ours = PictureTransform(resize=(28, 28), size=(28, 28), fit=mode, mean=(0.5,) * 3, std=(0.25,) * 3)
    image = picture(*shape)
    assert np.array_equal(ours(image[None])[0], theirs(Image.fromarray(image)).numpy())


def test_samples_stay_apart():
    ours = PictureTransform(resize=(34, 34), size=(28, 20))
    both = np.stack((picture(40, 60), picture(40, 60, seed=1)))
    found = ours(both)
    assert found.shape == (2, 3, 28, 20)
    assert found.dtype == np.float32
    assert np.array_equal(found[1], ours(both[1:])[0])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"interpolation": "random"}, "`interpolation`: expected nearest or bilinear or bicubic or lanczos"),
        ({"fit": "stretch"}, "`resize mode`: expected shortest or longest or squash, but got 'stretch'."),
    ],
)
def test_a_setting_without_meaning_is_refused(setting, says):
    with pytest.raises(CheckpointError) as refusal:
        PictureTransform(resize=(28, 28), size=(28, 28), **setting)
    assert str(refusal.value).startswith(says)
