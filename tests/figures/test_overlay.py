import base64
import struct
import zlib

import numpy as np
import pytest

from clsight.errors import FigureError
from clsight.figures import patch_overlay
from hand_made import patch_record, word_record

WHERE = {"sample": 1, "layer": 2, "head": 3}
GRAY = np.linspace(0, 1, 8 * 6).reshape(8, 6)
RGB = np.arange(4 * 9 * 3, dtype=np.uint8).reshape(4, 9, 3)


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_overlay_lays_each_weight_on_its_patch(direction):
    record = patch_record().record
    patches = patch_overlay(record, GRAY, direction=direction, **WHERE).data[0]
    np.testing.assert_array_equal(patches.z, record[direction].values[1, 2, 3, 1:].reshape(2, 3))
    np.testing.assert_allclose(patches.x, [0, 2, 4, 6])
    np.testing.assert_allclose(patches.y, [0, 4, 8])


def test_overlay_shows_the_weight_of_cls_beside_the_image():
    record = patch_record().record
    fig = patch_overlay(record, GRAY, **WHERE)
    weight = record["attends_to"].values[1, 2, 3, 0]
    np.testing.assert_array_equal(fig.data[1].z, [[weight]])
    assert max(fig.data[1].x) < 0
    assert fig.layout.annotations[0].text == f"[CLS]<br><b>{weight:.2f}</b>"


def test_overlay_gives_each_prefix_token_a_square():
    record = patch_record().record.copy(deep=True)
    for name, value in (("token_kind", "register"), ("token_text", "<reg>"), ("row", -1), ("column", -1)):
        record[name].values[:, 1] = value
    fig = patch_overlay(record, GRAY, **WHERE)
    weights = record["attends_to"].values[1, 2, 3]
    np.testing.assert_array_equal(fig.data[1].z[:, 0], [weights[0], np.nan, weights[1]])
    assert fig.layout.annotations[1].text.startswith("&lt;reg&gt;<br>")
    np.testing.assert_array_equal(fig.data[0].z.ravel(), [np.nan, *weights[2:]])


def decoded(source):
    """Return the pixels of a PNG by the book: length, kind, data; filter byte 0 before each line."""
    content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    lines = np.frombuffer(zlib.decompress(content[start + 4 : start + 4 + length]), np.uint8)
    return lines.reshape(height, 1 + width * 3)[:, 1:].reshape(height, width, 3)


def test_overlay_holds_the_image_itself():
    record = patch_record().record
    color = patch_overlay(record, RGB, **WHERE).data[2]
    np.testing.assert_array_equal(decoded(color.source), RGB)
    gray = decoded(patch_overlay(record, GRAY[:, :, None], **WHERE).data[2].source)
    assert gray.shape == (8, 6, 3)
    np.testing.assert_array_equal(gray[..., 1], np.round(GRAY * 255))


def test_overlay_scales_its_colors_from_zero_to_the_largest_patch():
    record = patch_record().record
    fig = patch_overlay(record, GRAY, **WHERE)
    largest = record["attends_to"].values[1, 2, 3, 1:].max()
    assert (fig.data[0].zmin, fig.data[0].zmax) == (0, pytest.approx(largest))
    assert fig.layout.coloraxis.cmax == fig.data[0].zmax
    assert patch_overlay(record, GRAY, zmax=0.9, **WHERE).layout.coloraxis.cmax == 0.9


def test_overlay_refuses_a_record_without_patches():
    with pytest.raises(FigureError, match=r"expected a record with patches.*clsight.figures.token_strip"):
        patch_overlay(word_record().record, GRAY, **WHERE)


@pytest.mark.parametrize("shape", [(8,), (3, 8, 6), (8, 6, 4), (2, 8, 6, 3), (1, 6), (8, 2)])
def test_overlay_refuses_an_image_of_another_shape(shape):
    with pytest.raises(FigureError, match=r"at least 2 × 3 pixels, but got an image of shape"):
        patch_overlay(patch_record().record, np.zeros(shape), **WHERE)


@pytest.mark.parametrize("value", [-0.5, 1.5, np.nan])
def test_overlay_refuses_normalized_pixels(value):
    with pytest.raises(FigureError, match=r"finite values from 0 to 1, or uint8, but got float64"):
        patch_overlay(patch_record().record, np.full((8, 6), value), **WHERE)


@pytest.mark.parametrize("wrong", [{"sample": 9}, {"layer": 9}, {"head": 9}])
def test_overlay_names_what_is_out_of_range(wrong):
    (dim,) = wrong
    with pytest.raises(FigureError, match=f"`patch_overlay`: expected a `{dim}` of the record: .*but got 9"):
        patch_overlay(patch_record().record, GRAY, **{**WHERE, **wrong})
