"""Examples for models that bring none, made in code: always the same, and labeled so."""

import numpy as np

from clsight.preparation import Examples

_SENTENCES = (
    "The committee approved the plan after a long debate.",
    "I waited for an hour, but no train came.",
    "What a wonderful film!",
    "The soup was cold, but nobody apologized.",
    "Two children are throwing stones into the river near the old mill.",
    "Prices rose by 3.5 percent in March, less than most people had feared.",
)


def sentences() -> Examples:
    """Return six English sentences of different length: StringDType [sample=6]."""
    return Examples(np.array(_SENTENCES, dtype=np.dtypes.StringDType()), made="clsight's own sentences")


def series(time: int, features: int) -> Examples:
    """Return four sums of a slow and a fast wave, with noise: float32 [sample=4, time, feature]."""
    generator = np.random.default_rng(0)
    steps = np.arange(time)[None, :, None] / max(time, 1)
    slow, fast = generator.uniform(0.5, 2.0, (4, 1, features)), generator.uniform(3.0, 8.0, (4, 1, features))
    start = generator.uniform(0.0, 2 * np.pi, (4, 1, features))
    waves = np.sin(2 * np.pi * slow * steps + start) + 0.5 * np.sin(2 * np.pi * fast * steps)
    values = (waves + generator.normal(0.0, 0.1, waves.shape)).astype(np.float32)
    return Examples(values, made="synthetic series, seed 0")


def pictures(height: int, width: int) -> Examples:
    """Return four pictures of a shape on a gradient: uint8 [sample=4, height, width, color=3]."""
    generator = np.random.default_rng(0)
    down = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None] / height, (height, width))
    across = np.broadcast_to(np.arange(width, dtype=np.float32) / width, (height, width))
    drawn = []
    for number in range(4):
        start, end, color = generator.integers(0, 256, (3, 3)).astype(np.float32)
        share = (down if number % 2 else across)[..., None]
        picture = start * (1 - share) + end * share
        middle, radius = generator.uniform(0.3, 0.7, 2), generator.uniform(0.15, 0.3)
        away = np.abs(np.stack((down - middle[0], across - middle[1])))
        inside = away.max(axis=0) < radius if number < 2 else np.hypot(*away) < radius
        picture[inside] = color
        drawn.append(picture.astype(np.uint8))
    return Examples(np.stack(drawn), made="synthetic pictures, seed 0")


def token_ids(time: int, vocabulary: int) -> Examples:
    """Return four samples of ids drawn alike: int64 [sample=4, time]."""
    ids = np.random.default_rng(0).integers(vocabulary, size=(4, time))
    return Examples(ids, made="random token ids, seed 0")
