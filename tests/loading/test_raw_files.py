"""What a user types is a text or a file; a file's name is never taken for the text in it."""

from pathlib import Path

import pytest

from clsight.errors import ClsightError
from clsight.loading.raw_files import given_as, text_in


def test_what_names_a_file_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real.txt").write_text("x")
    (tmp_path / "letter").write_text("x")
    (tmp_path / "folder").mkdir()
    assert given_as("real.txt") == Path("real.txt")
    assert given_as("letter") == Path("letter")
    for text in ("folder", "a sentence.", "Read me first, then real.txt.", "x" * 5000, "a\0b", "", "\udcff"):
        assert given_as(text) == text


@pytest.mark.parametrize("name", ["missing.txt", "no/such/a.npy", "my photo.JPG", "data.csv", "a.npz"])
def test_what_ends_like_a_file_and_is_none_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ClsightError) as caught:
        given_as(name)
    assert str(caught.value) == (
        f"`{name}`: expected a file that exists, or a text, but got no file of that name. "
        "Correct the path; a text that only ends so goes into a .txt file."
    )


def test_text_of_a_file_is_whole(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufefftwo\r\nlines\n".encode())
    assert text_in(tmp_path / "a.txt") == "two\nlines"
    with pytest.raises(ClsightError, match=r"expected a file of text, but got .*No such file"):
        text_in(tmp_path / "absent.txt")
