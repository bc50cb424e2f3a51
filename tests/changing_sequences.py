"""Classifiers whose encoder sees another sequence than [CLS] and the input: shortened, merged, padded.

`MAPS` says what each position truly is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from user_modules import CLASSES, FEATURES, WIDTH, layer


class Around(nn.Module):
    """[CLS] in front of what `tokens` gives, an encoder and a head."""

    def __init__(self, tokens: Callable[[Tensor], Tensor], parts: nn.Module | None = None) -> None:
        super().__init__()
        self.parts = nn.Linear(FEATURES, WIDTH) if parts is None else parts
        self.cls = nn.Parameter(torch.rand(1, 1, WIDTH))
        self.encoder = nn.TransformerEncoder(layer(), 2)
        self.head = nn.Linear(WIDTH, CLASSES)
        self._tokens = tokens

    def forward(self, x):
        tokens = self._tokens(self.parts, x)
        return self.head(self.encoder(self.joined(tokens))[:, 0])

    def joined(self, tokens):
        return torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)


class Behind(Around):
    """[CLS] at the end."""

    def joined(self, tokens):
        return torch.cat([tokens, self.cls.expand(len(tokens), -1, -1)], dim=1)


class Without(Around):
    """No [CLS] at all."""

    def joined(self, tokens):
        return tokens


class Averaged(Around):
    """[CLS] that is the mean of the tokens."""

    def joined(self, tokens):
        return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)


class Drawn(Around):
    """[CLS] drawn by NumPy, which nothing can repeat."""

    def joined(self, tokens):
        import numpy as np

        drawn = torch.from_numpy(np.random.default_rng().normal(size=(len(tokens), 1, WIDTH))).float()
        return torch.cat([drawn, tokens], dim=1)


def same(embed, x):
    return embed(x)


def pairs(embed, x):
    return functional.avg_pool1d(embed(x).transpose(1, 2), 2).transpose(1, 2)


def backwards(embed, x):
    return embed(x).flip(1)[:, :3]


def padded(embed, x):
    return functional.pad(embed(x), (0, 0, 0, 3))


def registers(embed, x):
    return functional.pad(embed(x), (0, 0, 2, 0), value=0.5)


def smoothed(embed, x):
    return functional.avg_pool1d(embed(x).transpose(1, 2), 3, 1, 1).transpose(1, 2)


def flattened(convolutions, x):
    return convolutions(x).flatten(2).transpose(1, 2)


def unfolded(embed, x):
    return embed(functional.unfold(x, 4, stride=4).transpose(1, 2))


def stem() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, WIDTH, 3, 2, 1))


STEPS = tuple(f"step {time}" for time in range(4))


@dataclass(frozen=True)
class Map:
    """A module and the token map of a series of four steps that is true of it.

    Attributes:
        make: The module.
        texts: Of each position.
        cls_index: What the user states.
    """

    make: Callable[[], nn.Module]
    texts: tuple[str, ...]
    cls_index: int = 0


MAPS = {
    "usual": Map(lambda: Around(same), ("[CLS]", *STEPS)),
    "behind": Map(lambda: Behind(same), (*STEPS, "[CLS]"), -1),
    "behind, taken to be in front": Map(lambda: Behind(same), (*STEPS, "[extra 4]")),
    "without": Map(lambda: Without(same), STEPS),
    "mean": Map(lambda: Averaged(same), ("[CLS]", *STEPS)),
    "drawn": Map(lambda: Drawn(same), ("[CLS]", *STEPS)),
    "pairs": Map(lambda: Around(pairs), ("[CLS]", "token 1", "token 2")),
    "pairs without": Map(lambda: Without(pairs), ("token 0", "token 1")),
    "some, backwards": Map(lambda: Around(backwards), ("[CLS]", "step 3", "step 2", "step 1")),
    "padded": Map(lambda: Around(padded), ("[CLS]", *STEPS, "[extra 5]", "[extra 6]", "[extra 7]")),
    "registers": Map(lambda: Around(registers), ("[CLS]", "[extra 1]", "[extra 2]", *STEPS)),
    "smoothed": Map(lambda: Around(smoothed), ("[CLS]", *STEPS)),
    "smoothed without": Map(lambda: Without(smoothed), STEPS),
}
