"""Patches are painted over where their tokens say they are, with zero or with the mean patch."""

import numpy as np
import pytest
import torch
import xarray as xr

import clsight
from clsight.faithfulness import leave_one_out
from clsight.faithfulness.batch import batch_of
from clsight.faithfulness.pictures import Painting


@pytest.fixture(scope="module")
def digits():
    return clsight.load(clsight.sample_models_dir() / "digits-learned")


def painted_by_hand(picture, place, grid, *, is_zero):
    """A picture [height, width] with one patch painted over, pixel by pixel."""
    result, (rows, columns) = picture.copy(), grid
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    for y in range(height):
        for x in range(width):
            mean = 0.0
            for row in range(rows):
                for column in range(columns):
                    mean += picture[row * height + y, column * width + x] / (rows * columns)
            result[place[0] * height + y, place[1] * width + x] = 0.0 if is_zero else mean
    return result


@pytest.mark.parametrize("baseline", ["zero", "mean", None])
def test_effects_are_those_of_pictures_that_are_painted_by_hand(digits, baseline):
    examples = digits.examples[0:3]
    found = leave_one_out(digits, examples, by="baseline", baseline=baseline, progress=False)
    prepared = digits.prepare(examples)
    pictures = prepared.inputs.double().numpy()
    grid = (prepared.row.max() + 1, prepared.column.max() + 1)

    def probabilities(pictures):
        with torch.no_grad():
            return torch.softmax(digits.module(torch.tensor(pictures).float()).double(), 1).numpy()

    whole = probabilities(pictures)
    for sample in range(3):
        target = whole[sample].argmax()
        for token in range(1, found.sizes["token"]):
            place = prepared.row[sample, token], prepared.column[sample, token]
            changed = pictures.copy()
            changed[sample] = painted_by_hand(pictures[sample], place, grid, is_zero=baseline == "zero")
            lost = whole[sample, target] - probabilities(changed)[sample, target]
            assert float(found[sample, token]) == pytest.approx(lost, abs=1e-6), "float32 in another batch"
    assert np.isnan(found[:, 0]).all()
    assert float(abs(found).max()) > 1e-2


def test_patches_of_a_subject_may_be_hidden(digits):
    examples = digits.examples[0:3]
    found = leave_one_out(digits, examples, by="mask", target=3, progress=False)
    inputs = digits.prepare(examples).inputs
    patches = found.sizes["token"] - 1
    for patch in range(patches):
        mask = torch.ones(3, patches, dtype=torch.bool)
        with torch.no_grad():
            whole = torch.softmax(digits.module(inputs, mask), 1)[:, 3]
            mask[:, patch] = False
            lost = whole - torch.softmax(digits.module(inputs, mask), 1)[:, 3]
        np.testing.assert_allclose(found[:, patch + 1], lost, atol=1e-5)
    assert float(abs(found).max()) > 1e-2


def test_pictures_of_any_layout_are_painted():
    generator = torch.Generator().manual_seed(0)
    colored = torch.randn(2, 3, 4, 6, generator=generator)  # sample, color, height, width
    batch = patches(colored)
    for is_zero in (True, False):
        removed = np.array([[False, True, False, False, False, False, False], [False] * 6 + [True]])
        painted = Painting(batch, is_zero=is_zero).painted(removed)[0].numpy()
        for color in range(3):
            expected = painted_by_hand(colored[0, color].double().numpy(), (0, 0), (2, 3), is_zero=is_zero)
            np.testing.assert_allclose(painted[0, color], expected, atol=1e-6)
            expected = painted_by_hand(colored[1, color].double().numpy(), (1, 2), (2, 3), is_zero=is_zero)
            np.testing.assert_allclose(painted[1, color], expected, atol=1e-6)


def patches(pictures, *, rows=2, columns=3):
    """A call on pictures whose tokens are [CLS] and patches, known from an attribution."""
    places = [(row, column) for row in range(rows) for column in range(columns)]
    samples, dims = len(pictures), ("sample", "token")
    kinds = np.array([["cls", *["patch"] * len(places)]] * samples, dtype=np.dtypes.StringDType())
    coords = {
        "token_kind": (dims, kinds),
        "row": (dims, np.array([[-1, *[row for row, _ in places]]] * samples, dtype=np.int16)),
        "column": (dims, np.array([[-1, *[column for _, column in places]]] * samples, dtype=np.int16)),
    }
    like = xr.DataArray(np.zeros((samples, len(places) + 1)), dims=dims, coords=coords)
    return batch_of(torch.nn.Identity(), (pictures,), like=like)


def test_patches_that_do_not_tile_the_picture_are_refused():
    with pytest.raises(ValueError, match=r"^its 2 × 3 patches do not tile a picture of 4 × 7$"):
        Painting(patches(torch.zeros(2, 3, 4, 7)), is_zero=True)


def test_inputs_without_a_picture_are_refused():
    with pytest.raises(ValueError, match=r"^there is no picture .* of numbers among its inputs$"):
        Painting(patches(torch.zeros(2, 8)), is_zero=True)
