"""The page about loading tells the truth: each format loads, or is refused with the sentence there."""

from pathlib import Path

import pytest

from loading_table import LOADED, REFUSED, outcome

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "loading.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("row", LOADED, ids=lambda row: row.what)
def test_format_is_loaded_as_the_page_says(row, tmp_path):
    done, told = outcome(row, tmp_path)
    assert done, told
    assert f"| {row.what} | `{row.command}` | {told} |" in PAGE


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.what)
def test_format_is_refused_in_the_words_of_the_page(row, tmp_path):
    done, told = outcome(row, tmp_path)
    assert not done
    assert f"| {row.what} | `{row.command}` | {told} |" in PAGE


def test_page_is_written_by_its_script():
    assert "`python docs/loading.py`" in PAGE
    tables = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(tables) == len(LOADED) + len(REFUSED) + 3 + 5  # three headings, five rows on what is assumed
