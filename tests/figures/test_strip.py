import numpy as np
import pytest

from clsight.errors import FigureError
from clsight.figures import token_strip
from hand_made import patch_record, word_record

WHERE = {"sample": 0, "layer": 2, "head": 3}


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_strip_shows_the_weights_of_real_tokens_in_order(direction):
    record = word_record().record
    z = token_strip(record, direction=direction, **WHERE).data[0].z
    shown = z.ravel()
    np.testing.assert_array_equal(shown[:7], record[direction].values[0, 2, 3, :7])
    assert np.isnan(shown[7:]).all()


def test_strip_shows_markup_literally_and_repeated_tokens_apart():
    fig = token_strip(word_record().record, **WHERE)
    texts = [text for row in fig.data[0].text for text in row if text]
    assert texts == ["[CLS]", "the", "&lt;s&gt;", "river &amp; sea", "the", "&#36;x&#36;", "[SEP]"]
    assert len(fig.data[1].text) == 7
    places = list(zip(fig.data[1].x, fig.data[1].y, strict=True))
    assert len(set(places)) == 7


def test_strip_writes_each_weight_into_its_cell():
    record = word_record().record
    writing = token_strip(record, **WHERE).data[1].text
    assert writing[2] == f"&lt;s&gt;<br>{record['attends_to'].values[0, 2, 3, 2]:.3f}"


def test_strip_cuts_a_long_text_in_the_cell_only_and_never_inside_an_escape():
    long = "&" * 30
    fig = token_strip(word_record(words=("[CLS]", long, "a", "", "")).record, **WHERE)
    assert fig.data[1].text[1].startswith("&amp;" * 11 + "…<br>")
    assert fig.data[0].text[0][1] == "&amp;" * 30


def test_strip_of_many_tokens_grows_downward():
    words = ("[CLS]", *(f"word{i}" for i in range(201)))
    fig = token_strip(
        word_record(samples=1, layers=1, heads=2, words=words).record, sample=0, layer=0, head=1
    )
    assert fig.data[0].z.shape[1] <= 16
    assert np.isfinite(fig.data[0].z).sum() == 200
    assert fig.layout.height >= 38 * fig.data[0].z.shape[0]


def test_strip_names_patches_by_their_text():
    assert token_strip(patch_record().record, **WHERE).data[0].text[0][1] == "patch 0,0"


def test_strip_names_a_token_without_text_by_kind_and_position():
    record = word_record().record.copy(deep=True)
    record["token_text"].values[0, 1] = ""
    assert token_strip(record, **WHERE).data[0].text[0][1] == "word 1"


@pytest.mark.parametrize("wrong", [{"sample": 9}, {"layer": 9}, {"head": 9}])
def test_strip_names_what_is_out_of_range(wrong):
    (dim,) = wrong
    with pytest.raises(FigureError, match=f"`token_strip`: expected a `{dim}` of the record: .*but got 9"):
        token_strip(word_record().record, **{**WHERE, **wrong})
