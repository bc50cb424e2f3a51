"""Tokens in reading order, each on the color of its weight; the text appears literally, whatever it holds."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from dash import html
from numpy.typing import NDArray
from plotly.colors import sample_colorscale, unlabel_rgb

_SHOWN_CHARACTERS: Final = 60
_TEXT_COLORS: Final = {"#000000": 0.05, "#ffffff": 1.05}
"""Text colors, each with its relative luminance + 0.05."""


def token_strip(
    texts: Sequence[str], weights: NDArray[np.floating], *, colorscale: str, maximum: float
) -> html.Div:
    """Return a strip of tokens; hovering one tells its weight.

    Args:
        texts: Token texts, in order.
        weights: Weight of each token (token), in [0, 1]; NaN where a token has none.
        colorscale: Name of a plotly color scale; its low end stands for 0.
        maximum: The weight at the high end of the color scale, above 0.
    """
    return html.Div(
        [
            _token(text, float(weight), colorscale, maximum)
            for text, weight in zip(texts, weights, strict=True)
        ],
        className="token-strip",
    )


def _token(text: str, weight: float, colorscale: str, maximum: float) -> html.Span:
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    if np.isnan(weight):
        return html.Span(shown, className="token", title=f"{shown}: no weight")
    background, foreground = token_colors(weight / maximum, colorscale)
    return html.Span(
        shown,
        className="token",
        title=f"{shown}: {weight:.4f}",
        style={"backgroundColor": background, "color": foreground},
    )


def token_colors(share: float, colorscale: str) -> tuple[str, str]:
    """Return the background of a share in 0 .. 1 of the scale, and the text color that is readable on it."""
    background = sample_colorscale(colorscale, min(max(share, 0.0), 1.0))[0]
    lightness = _luminance(background) + 0.05
    return background, max(_TEXT_COLORS, key=lambda color: _contrast(lightness, _TEXT_COLORS[color]))


def _contrast(one: float, other: float) -> float:
    """Return the contrast of two relative luminances, each raised by 0.05, as WCAG 2.2 defines it."""
    return max(one, other) / min(one, other)


def _luminance(color: str) -> float:
    """Return the relative luminance of `rgb(red, green, blue)`, from 0 to 1, as WCAG 2.2 defines it."""
    parts = np.array([float(part) for part in unlabel_rgb(color)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
