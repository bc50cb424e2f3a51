"""Tokens in reading order, each on the color of its weight; the text appears literally, whatever it holds."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from dash import html
from numpy.typing import NDArray
from plotly.colors import sample_colorscale, unlabel_rgb

_SHOWN_CHARACTERS: Final = 60
_LEVELS: Final = 256
_TEXT_COLORS: Final = {"#000000": 0.05, "#ffffff": 1.05}
"""Text colors, each with its relative luminance + 0.05."""


def token_strip(
    texts: Sequence[str],
    weights: NDArray[np.floating],
    *,
    colorscale: str,
    maximum: float,
    positions: Sequence[int] | None = None,
    chosen: int | None = None,
) -> html.Div:
    """Return a strip of tokens, which assets/token_strip.js draws; hovering one tells its weight.

    Long sequences are drawn in the browser, as text nodes: a component of Dash for each token takes a
    hundred times as long.

    Args:
        texts: Token texts, in order.
        weights: Weight of each token (token), in [0, 1]; NaN where a token has none.
        colorscale: Name of a plotly color scale; its low end stands for 0.
        maximum: The weight at the high end of the color scale, above 0.
        positions: Position of each token, by which a click chooses it; by default none can be chosen.
        chosen: The position that is chosen.
    """
    shares = np.clip(np.nan_to_num(np.asarray(weights) / maximum), 0, 1)
    levels = np.round(shares * (_LEVELS - 1)).astype(int)
    tokens = [
        _token(text, float(weight), int(level), colorscale)
        for text, weight, level in zip(texts, weights, levels, strict=True)
    ]
    if positions is not None:
        tokens = [[*token, position] for token, position in zip(tokens, positions, strict=True)]
    drawn = {"tokens": tokens, "chosen": chosen}
    data: dict[str, Any] = {"data-strip": json.dumps(drawn, ensure_ascii=False)}
    return html.Div(className="token-strip", **data)


def _token(text: str, weight: float, level: int, colorscale: str) -> list[Any]:
    """Return what is shown, what hovering tells, background and text color; no colors without a weight."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    if np.isnan(weight):
        return [shown, f"{shown}: no weight", "", ""]
    return [shown, f"{shown}: {weight:.4f}", *_colors_of(colorscale)[level]]


@cache
def _colors_of(colorscale: str) -> tuple[tuple[str, str], ...]:
    """Return background and text color of each level of a color scale."""
    return tuple(token_colors(level / (_LEVELS - 1), colorscale) for level in range(_LEVELS))


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
