"""How numbers and tokens are written."""

import math

import pytest

from clsight_app.views.wording import percent, token_name
from hand_made import patch_record, word_record


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.4236, "42 %"),
        (1.0, "100 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.0004, "< 0.1 %"),
        (0.0, "0 %"),
        (0.9961, "> 99 %"),
        (math.nan, "none"),
    ],
)
def test_percent_keeps_two_digits(share, text):
    assert percent(share) == text


def test_token_name_says_where_a_patch_is():
    example = patch_record(grid=(2, 3)).record.isel(sample=0)
    assert token_name(example, 0) == "CLS itself"
    assert token_name(example, 6) == "patch row 1, column 2"


def test_token_name_keeps_hostile_text_literally_and_cuts_long_text():
    words = ("[CLS]", "<b>", "x" * 10_000, "end", "", "")
    example = word_record(words=words).record.isel(sample=0)
    assert token_name(example, 1) == "<b>"
    assert token_name(example, 2) == "x" * 80 + "…"
