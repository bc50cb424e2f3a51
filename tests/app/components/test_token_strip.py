"""A strip of tokens: literal text, colors by weight, text readable on them."""

import numpy as np
import pytest

from clsight_app.components.token_strip import token_colors, token_strip

HOSTILE = ["<b>", "</s>", "<a href='x'>", "$x$", "&amp;", "שלום", "🙂"]


def spans(texts, weights, maximum=0.5):
    return token_strip(texts, np.array(weights), colorscale="Cividis", maximum=maximum).children


def test_tokens_are_text_and_literal():
    assert [span.children for span in spans(HOSTILE, [0.1] * 7)] == HOSTILE


def test_long_token_is_cut():
    (span,) = spans(["x" * 10_000], [0.1])
    assert span.children == "x" * 60 + "…"


def test_token_tells_its_weight_and_one_without_says_so():
    one, other = spans(["a", "b"], [0.12345, np.nan])
    assert one.title == "a: 0.1235"
    assert other.title == "b: no weight"
    assert not hasattr(other, "style")


def test_color_follows_the_weight_up_to_the_maximum():
    low, high, above = (span.style["backgroundColor"] for span in spans("abc", [0.0, 0.5, 0.9]))
    assert low != high
    assert high == above


@pytest.mark.parametrize("share", np.linspace(0, 1, 11))
def test_text_contrasts_with_its_background(share):
    background, foreground = token_colors(float(share), "Cividis")
    lightness = [relative_luminance(color) for color in (background, foreground)]
    assert (max(lightness) + 0.05) / (min(lightness) + 0.05) >= 4.5  # WCAG 2.2, level AA


def relative_luminance(color):
    """Return the relative luminance of `#rrggbb` or `rgb(r, g, b)` as WCAG defines it."""
    parts = (
        [int(color[place : place + 2], 16) for place in (1, 3, 5)]
        if color.startswith("#")
        else [float(part) for part in color[4:-1].split(",")]
    )
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in parts)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
