"""Words from subwords: which pieces belong together, their weights against a loop, what is refused."""

import numpy as np
import pytest
from numpy.dtypes import StringDType

from clsight.analysis.words import joined_pieces, merge_words
from clsight.errors import RecordError
from hand_made import word_record

WORDS = ("[CLS]", "un", "##believ", "##able", "soup", "!", "[SEP]", "", "")
GROUPS = [[0], [1, 2, 3], [4], [5], [6]]


def pieces_record():
    """Return one text with a word of three pieces, and two paddings."""
    record = word_record(words=WORDS).record.isel(sample=[0])
    assert record["token_text"].values[0].tolist()[1:4] == ["un", "##believ", "##able"]
    return record


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["token", "##ization", "works"], ["tokenization", "works"]),
        (["The", " token", "ization", " works", "."], ["The", " tokenization", " works", "."]),
        (["token", "ization ", "works ", ". "], ["tokenization ", "works ", ". "]),
        (["do", "n't", "stop"], ["do", "n't", "stop"]),  # nothing says that these are pieces
        (["##", "#"], ["##", "#"]),
        (["a"], ["a"]),
    ],
)
def test_pieces_are_joined_by_their_marks(pieces, words):
    assert joined_pieces(pieces) == words


def test_row_is_summed_and_column_averaged_over_the_pieces():
    record = pieces_record()
    merged = merge_words(record)
    assert merged["token_text"].values[0, :5].tolist() == ["[CLS]", "unbelievable", "soup", "!", "[SEP]"]
    for layer, head in np.ndindex(record.sizes["layer"], record.sizes["head"]):
        row = record["attends_to"].values[0, layer, head].astype(np.float64)
        column = record["attended_by"].values[0, layer, head].astype(np.float64)
        for word, group in enumerate(GROUPS):
            total = sum(row[piece] for piece in group)
            mean = sum(column[piece] for piece in group) / len(group)
            assert merged["attends_to"].values[0, layer, head, word] == pytest.approx(total, rel=1e-6)
            assert merged["attended_by"].values[0, layer, head, word] == pytest.approx(mean, rel=1e-6)


def test_padding_and_sum_stay():
    merged = merge_words(pieces_record())
    np.testing.assert_allclose(merged["attends_to"].sum("token"), 1, rtol=1e-6)
    assert np.isnan(merged["attended_by"].values[..., 5:]).all()
    assert merged["token_mask"].values.tolist() == [[True] * 5 + [False] * 2]
    assert merged["token_kind"].values[0].tolist() == ["cls", "word", "word", "word", "special", "pad", "pad"]


def test_text_without_pieces_keeps_its_weights():
    record = word_record().record.isel(sample=[1])
    merged = merge_words(record)
    np.testing.assert_array_equal(merged["attends_to"], record["attends_to"])
    np.testing.assert_array_equal(merged["token_text"], record["token_text"])


def test_position_of_cls_moves_with_the_words():
    record = pieces_record()
    assert merge_words(record.assign_attrs(cls_index=6)).attrs["cls_index"] == 4
    moved = record.assign_attrs(cls_index=None).assign_coords(cls_position=("sample", [4]))
    assert merge_words(moved).attrs["cls_index"] == 2


def test_several_samples_are_refused():
    with pytest.raises(RecordError) as told:
        merge_words(word_record().record)
    assert str(told.value) == (
        "`merge_words`: expected a record of one sample, but got sample=2. "
        "Select one: record.isel(sample=[0])."
    )


def test_dtype_of_texts_is_kept():
    assert merge_words(pieces_record())["token_text"].dtype == StringDType()
