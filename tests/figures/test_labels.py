import pytest

from clsight.figures.labels import literal, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<s>", "&lt;s&gt;"),
        ("</s>", "&lt;/s&gt;"),
        ("<a href='x'>", "&lt;a href='x'&gt;"),
        ("&lt;", "&amp;lt;"),
        ("$x$", "&#36;x&#36;"),
        ("a\nb\t", "a⏎b⇥"),
        ("  ", "␣␣"),
        ("\x00", "�"),
        ("日本 🦆", "日本 🦆"),
    ],
)
def test_literal_escapes_what_plotly_would_interpret(text, shown):
    assert literal(text) == shown


def test_shortened_keeps_short_text_and_marks_a_cut():
    assert [shortened("abcd", n) for n in (5, 4, 3)] == ["abcd", "abcd", "ab…"]
