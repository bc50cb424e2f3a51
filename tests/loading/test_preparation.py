"""Raw examples become inputs and a token map, or one error that says what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsight.errors import ClsightError
from clsight.loading import Examples, as_subject, load
from clsight.models import ClassificationTransformer
from own_folders import IMAGES, SERIES, WORDS, images


def test_token_map_names_cls_and_patches_row_by_row(folder):
    prepared = load(folder).prepare(images(2))
    expected = ["[CLS]", "patch 0,0", "patch 0,1", "patch 0,2", "patch 1,0", "patch 1,1", "patch 1,2"]
    assert prepared.token_text.tolist() == [expected] * 2
    assert prepared.token_kind.tolist() == [["cls"] + ["patch"] * 6] * 2
    assert prepared.row.tolist() == [[-1, 0, 0, 0, 1, 1, 1]] * 2
    assert prepared.column.tolist() == [[-1, 0, 1, 2, 0, 1, 2]] * 2
    assert prepared.row.dtype == prepared.column.dtype == np.int16
    assert prepared.token_text.dtype == prepared.token_kind.dtype == np.dtypes.StringDType()
    assert prepared.token_mask is None
    assert prepared.label is None


def test_patch_of_the_map_is_the_patch_the_model_embeds(folder):
    subject = load(folder)
    image = np.zeros((1, 4, 6), dtype=np.float32)
    image[0, 2:4, 4:6] = 1.0  # row 1, column 2 of the patches
    prepared = subject.prepare(image)
    tokens = subject.module.embed(prepared.inputs)[0]
    lit = [token for token in range(6) if not torch.equal(tokens[token], tokens[0])]
    place = [(prepared.row[0, 1 + token], prepared.column[0, 1 + token]) for token in lit]
    assert place == [(1, 2)]


@pytest.mark.parametrize(("strategy", "cls_index"), [("mean_pooling", None), ("first_token", 0)])
def test_control_has_no_cls_in_its_token_map(strategy, cls_index):
    subject = as_subject(ClassificationTransformer(replace(IMAGES, strategy=strategy)), name="control")
    prepared = subject.prepare(images())
    assert subject.cls_index == cls_index
    assert prepared.token_kind.tolist() == [["patch"] * 6] * 5
    assert prepared.row[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_token_map_marks_padded_steps():
    subject = as_subject(ClassificationTransformer(SERIES), name="series")
    mask = np.array([[True, True, False], [True, True, True]])
    x = np.arange(18, dtype=np.float64).reshape(2, 3, 3)
    prepared = subject.prepare(Examples(x, np.array([1, 0], dtype=np.int32), mask))
    assert prepared.token_text.tolist() == [
        ["[CLS]", "step 0", "step 1", "[PAD]"],
        ["[CLS]", "step 0", "step 1", "step 2"],
    ]
    assert prepared.token_kind.tolist() == [["cls", "step", "step", "pad"], ["cls", "step", "step", "step"]]
    assert prepared.token_mask.tolist() == [[True, True, True, False], [True] * 4]
    assert prepared.row is None
    assert prepared.label.tolist() == [1, 0]
    assert prepared.label.dtype == np.int64
    direct = subject.module(torch.from_numpy(x).float(), torch.from_numpy(mask))
    assert torch.equal(subject.module(**prepared.inputs), direct)


def test_token_map_shows_ids_of_words():
    subject = as_subject(ClassificationTransformer(WORDS), name="words")
    prepared = subject.prepare(np.array([[29, 0, 7]]))
    assert prepared.token_text.tolist() == [["[CLS]", "29", "0", "7"]]
    assert prepared.token_kind.tolist() == [["cls", "word", "word", "word"]]
    assert subject.module(prepared.inputs).shape == (1, 2)


@pytest.mark.parametrize(("config", "filler"), [(SERIES, np.nan), (WORDS, -100)])
def test_padding_may_hold_anything(config, filler):
    subject = as_subject(ClassificationTransformer(config), name="padded")
    x = np.full((1, 3, 3), filler) if config is SERIES else np.full((1, 3), filler)
    x[0, :2] = 1
    before = x.copy()
    prepared = subject.prepare(Examples(x, token_mask=np.array([[True, True, False]])))
    direct = subject.module(subject.prepare(x[:, :2]).inputs)
    torch.testing.assert_close(subject.module(**prepared.inputs), direct)
    np.testing.assert_array_equal(x, before)


def test_padded_patch_has_no_place():
    subject = as_subject(ClassificationTransformer(IMAGES), name="images")
    mask = np.array([[True, True, True, True, False, True]])
    prepared = subject.prepare(Examples(images(1), token_mask=mask))
    assert prepared.row.tolist() == [[-1, 0, 0, 0, 1, -1, 1]]
    assert prepared.column.tolist() == [[-1, 0, 1, 2, 0, -1, 2]]
    assert prepared.token_text[0, 5] == "[PAD]"


def test_examples_are_cut_along_samples():
    examples = Examples(images(), np.arange(5), np.eye(5, dtype=bool))
    assert len(examples) == 5
    assert examples[3].inputs.shape == (1, 4, 6)
    assert examples[-1].labels.tolist() == [4]
    assert examples[1:3].labels.tolist() == [1, 2]
    assert examples[np.array([4, 0])].labels.tolist() == [4, 0]
    np.testing.assert_array_equal(examples[2].token_mask, [[False, False, True, False, False]])
    assert [example.labels.item() for example in examples] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            ([[1.0]],),
            "`examples`: expected a NumPy array [sample, ...] of two or more dimensions, but got list.",
        ),
        ((np.zeros((0, 4, 6)),), "`examples`: expected one sample or more, but got none."),
        (
            (np.zeros((2, 4, 6)), np.zeros(3, dtype=int)),
            "`examples.labels`: expected sample=2, but got sample=3.",
        ),
        ((np.zeros((2, 4, 6)), np.zeros(2)), "expected whole numbers [sample], but got float64 [2]."),
    ],
)
def test_examples_refuse_arrays_that_do_not_fit(arrays, message):
    with pytest.raises(ClsightError) as caught:
        Examples(*arrays)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config", "raw", "message"),
    [
        (
            IMAGES,
            np.zeros((2, 6, 4)),
            "expected numbers [sample, height=4, width=6], but got float64 [2, 6, 4].",
        ),
        (
            IMAGES,
            np.zeros((6, 4)),
            "expected numbers [sample, height=4, width=6], but got float64 [1, 6, 4].",
        ),
        (IMAGES, np.full((2, 4, 6), "a"), "but got <U1 [2, 4, 6]."),
        (
            SERIES,
            np.zeros((2, 5, 4)),
            "expected numbers [sample, time, feature=3], but got float64 [2, 5, 4].",
        ),
        (SERIES, np.zeros((2, 0, 3)), "but got float64 [2, 0, 3]."),
        (SERIES, np.zeros((2, 7, 3)), "expected at most time=6, but got time=7."),
        (WORDS, np.zeros((2, 5)), "expected token ids [sample, time], but got float64 [2, 5]."),
        (WORDS, np.array([[0, 30]]), "expected token ids from 0 to 29, but got 0 to 30."),
        (WORDS, np.array([[-1, 3]]), "expected token ids from 0 to 29, but got -1 to 3."),
    ],
)
def test_prepare_refuses_inputs_that_do_not_fit(config, raw, message):
    with pytest.raises(ClsightError) as caught:
        as_subject(ClassificationTransformer(config), name="m").prepare(raw)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])  # the last is infinite in float32
def test_prepare_names_the_sample_that_is_not_finite(value):
    raw = images().astype(np.float64)
    raw[3, 1, 2] = value
    with pytest.raises(ClsightError, match="but got NaN or infinity in sample=3"):
        as_subject(ClassificationTransformer(IMAGES), name="m").prepare(raw)


def test_prepare_refuses_a_mask_that_counts_cls():
    mask = np.ones((2, 6), dtype=bool)
    with pytest.raises(ClsightError, match=r"expected bool \[sample=2, time=5\], but got bool \[2, 6\]"):
        as_subject(ClassificationTransformer(SERIES), name="m").prepare(
            Examples(np.zeros((2, 5, 3)), None, mask)
        )
