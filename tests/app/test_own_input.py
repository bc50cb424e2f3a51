"""Inputs of the user's own: typed text and ids, dropped files, what is refused before the model runs."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

import clsight
from clsight.errors import AppError, ClsightError
from clsight.loading.picture_subject import PictureTokens, picture_subject
from clsight.loading.picture_transform import PictureTransform
from clsight.preparation import Examples
from clsight_app.catalog import Catalog
from clsight_app.own_input import MOST_TOKENS, picture_seen
from clsight_app.state import Asked
from clsight_app.uploads import MOST_BYTES, Uploads, decoded
from hostile_model import NAME, save_hostile_model
from text_model import text_model_path


@pytest.fixture(scope="module")
def texts():
    """Return a catalog of one trained text model, and its name."""
    catalog = Catalog([text_model_path()])
    return catalog, catalog.first


def test_typed_text_is_captured_as_the_library_does(texts):
    catalog, model = texts
    record = catalog.record(model, Asked(text="The soup was cold."))
    expected = clsight.capture(catalog.subject(model), "The soup was cold.")
    np.testing.assert_array_equal(record["attends_to"], expected["attends_to"])
    assert catalog.text(model, Asked(text="The soup was cold.")) == "The soup was cold."


def test_two_sentences_are_a_pair(texts):
    catalog, model = texts
    record = catalog.record(model, Asked(text="One.", second="Two."))
    assert (record["token_text"].values[0] == "[SEP]").sum() == 2


def test_text_that_names_a_file_is_text(texts, tmp_path):
    catalog, model = texts
    (tmp_path / "secret.txt").write_text("nobody reads this")
    record = catalog.record(model, Asked(text=str(tmp_path / "secret.txt")))
    assert "nobody" not in record["token_text"].values[0].tolist()


def test_typed_ids_are_the_tokens(tmp_path):
    catalog = Catalog([save_hostile_model(tmp_path)])
    record = catalog.record(NAME, Asked(text="5, 9 2"))
    assert record["token_text"].values[0].tolist() == ["[CLS]", "5", "9", "2"]


@pytest.mark.parametrize("typed", ["five", "-1", "5;9", "/etc/passwd", "٣"])
def test_ids_that_are_none_are_refused(tmp_path, typed):
    catalog = Catalog([save_hostile_model(tmp_path)])
    with pytest.raises(AppError, match=r"`text`: expected token ids, such as 5 9 2, but got"):
        catalog.record(NAME, Asked(text=typed))


def test_ids_open_no_file(tmp_path):
    catalog = Catalog([save_hostile_model(tmp_path)])
    (tmp_path / "5").write_text("1 2 3")
    with pytest.raises(AppError, match="expected token ids"):
        catalog.record(NAME, Asked(text=str(tmp_path / "5")))


def test_text_for_a_model_of_pictures_is_refused(catalog):
    with pytest.raises(AppError) as told:
        catalog.record("digits-learned", Asked(text="hello"))
    takes = {"image": "pictures", "series": "series"}[catalog.subject("digits-learned").takes]
    assert str(told.value) == (
        f"`digits-learned`: expected a model that takes text, but got one that takes {takes}. "
        "Choose one of its examples, or another model."
    )


def test_dropped_array_is_captured(catalog):
    array = io.BytesIO()
    np.save(array, catalog.examples("digits-learned").inputs[3:4])
    given = catalog.uploads.add("seven.NPY", array.getvalue())
    record = catalog.record("digits-learned", Asked(given=given))
    expected = catalog.record("digits-learned", 3)
    np.testing.assert_allclose(record["attends_to"], expected["attends_to"], rtol=1e-5, atol=1e-7)


def test_several_samples_are_refused(catalog):
    array = io.BytesIO()
    np.save(array, catalog.examples("digits-learned").inputs[:2])
    given = catalog.uploads.add("two.npy", array.getvalue())
    with pytest.raises(AppError, match=r"`input`: expected one sample, but got 2\. Give one at a time"):
        catalog.record("digits-learned", Asked(given=given))


def test_broken_file_is_told(catalog):
    given = catalog.uploads.add("a.npy", b"no numbers")
    with pytest.raises(ClsightError, match="expected numbers as"):
        catalog.record("digits-learned", Asked(given=given))


def test_uploads_forget_the_oldest_beyond_their_bound(catalog):
    uploads = Uploads(max_bytes=10)
    first = uploads.add("a.txt", b"123456")
    uploads.add("b.txt", b"abcdef")
    with pytest.raises(AppError, match="Dropped files are forgotten when the app ends"):
        uploads.read(first, catalog.subject("digits-learned"))


@pytest.mark.parametrize(
    ("name", "size", "told"),
    [
        ("model.pt", 3, "expected a file .png, .jpg, .jpeg, .webp, .bmp, .npy, .csv, .txt, but got .pt"),
        ("no suffix", 3, "but got none"),
        ("a.npy", MOST_BYTES + 1, "expected at most 8,000,000 bytes, but got 8,000,001"),
    ],
)
def test_files_of_other_kinds_or_sizes_are_refused(name, size, told):
    with pytest.raises(AppError, match=told):
        Uploads().add(name, b"x" * size)


def test_contents_of_the_browser_are_decoded():
    assert decoded("data:text/plain;base64," + base64.b64encode(b"abc").decode()) == b"abc"
    with pytest.raises(AppError, match="expected a file, but got broken data"):
        decoded("data:text/plain;base64,????")
    with pytest.raises(AppError, match="expected at most 8,000,000 bytes, but got more"):
        decoded("data:," + "A" * (2 * MOST_BYTES))


def test_long_text_is_cut_by_the_model_or_refused(texts):
    catalog, model = texts
    tokens = catalog.record(model, Asked(text="word " * 1_500)).sizes["token"]
    assert tokens <= MOST_TOKENS


def test_picture_is_shown_as_the_model_sees_it(tmp_path):
    subject = picture_subject(
        torch.nn.Linear(2, 2),
        name="any",
        transform=PictureTransform(resize=(8, 8), size=(8, 8)),
        tokens=PictureTokens(("cls",), (2, 2)),
        cls_index=0,
        cls_vector=None,
        classes=(),
        classifies=False,
        provenance={},
    )
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, 16:] = 200  # the model sees the middle half, whose own right half is bright
    file = tmp_path / "wide.png"
    Image.fromarray(picture).save(file)
    seen = picture_seen(subject, subject.read(file))
    assert seen.shape == (8, 8, 3)
    assert seen.min() == 0
    assert seen.max() == 1
    assert seen[:, 5:].min() > seen[:, :3].max()
    small = picture[:8, :8]
    np.testing.assert_array_equal(picture_seen(subject, Examples(small[None])), small)
