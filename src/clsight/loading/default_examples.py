"""Examples for models that bring none, made in code: always the same, and labeled so."""

import numpy as np

from clsight.preparation import Examples


def pictures(height: int, width: int) -> Examples:
    """Return four pictures of a shape on a gradient: uint8 [sample=4, height, width, color=3]."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    down, across = rows / height, columns / width
    drawn = []
    for number in range(4):
        start, end, color = generator.integers(0, 256, (3, 3))
        share = (down if number % 2 else across)[..., None]
        picture = start * (1 - share) + end * share
        middle, radius = generator.uniform(0.3, 0.7, 2), generator.uniform(0.15, 0.3)
        away = np.abs(np.stack((down - middle[0], across - middle[1])))
        inside = away.max(axis=0) < radius if number < 2 else np.hypot(*away) < radius
        drawn.append(np.where(inside[..., None], color, picture))
    return Examples(np.stack(drawn).astype(np.uint8))
