"""A strip of tokens: literal text, colors by weight, text readable on them."""

import json

import numpy as np
import pytest

from clsight_app.components.token_strip import token_colors, token_strip

HOSTILE = ["<b>", "</s>", "<a href='x'>", "$x$", "&amp;", "שלום", "🙂"]


def drawn(texts, weights, maximum=0.5, **options):
    """Return what the browser draws: for each token its text, what hovering tells, background, text color."""
    strip = token_strip(texts, np.array(weights), colorscale="Cividis", maximum=maximum, **options)
    return json.loads(strip.to_plotly_json()["props"]["data-strip"])


def spans(texts, weights, maximum=0.5):
    return drawn(texts, weights, maximum)["tokens"]


def test_tokens_are_text_and_literal():
    assert [span[0] for span in spans(HOSTILE, [0.1] * 7)] == HOSTILE


def test_long_token_is_cut():
    (span,) = spans(["x" * 10_000], [0.1])
    assert span[0] == "x" * 60 + "…"


def test_token_tells_its_weight_and_one_without_says_so():
    one, other = spans(["a", "b"], [0.12345, np.nan])
    assert one[1] == "a: 0.1235"
    assert other[1:] == ["b: no weight", "", ""]


def test_color_follows_the_weight_up_to_the_maximum():
    low, high, above = (span[2] for span in spans("abc", [0.0, 0.5, 0.9]))
    assert low == token_colors(0.0, "Cividis")[0]
    assert high == above == token_colors(1.0, "Cividis")[0]


def test_token_can_be_chosen_by_its_position():
    assert [span[4] for span in drawn("ab", [0.1, 0.2], positions=[3, 5], chosen=5)["tokens"]] == [3, 5]
    assert drawn("ab", [0.1, 0.2], positions=[3, 5], chosen=5)["chosen"] == 5


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
