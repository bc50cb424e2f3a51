"""The sentences of a pair, told by the special tokens behind their words."""

import numpy as np
import pytest
import xarray as xr

from clsight_app.views.segments import segments

KINDS = {"c": "cls", "s": "special", "w": "word", "p": "pad", "x": "patch"}


def record(letters):
    kinds = np.array([[KINDS[letter] for letter in letters]], dtype=np.dtypes.StringDType())
    mask = np.array([[letter != "p" for letter in letters]])
    return xr.Dataset(
        {"token_mask": (("sample", "token"), mask)}, coords={"token_kind": (("sample", "token"), kinds)}
    )


@pytest.mark.parametrize(
    ("letters", "parts"),
    [
        ("cwwsws", [[0, 1, 2, 3], [4, 5]]),  # BERT
        ("cwsswws", [[0, 1, 2, 3], [4, 5, 6]]),  # RoBERTa: two between
        ("cwwspp", [[0, 1, 2, 3]]),
        ("cxxx", [[0, 1, 2, 3]]),
        ("swws", [[0, 1, 2, 3]]),  # a special token in front is no end
    ],
)
def test_parts_end_with_a_special_token(letters, parts):
    assert segments(record(letters)) == parts
