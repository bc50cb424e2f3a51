"""How [CLS] begins: ten initialization strategies, and what each answers in the thread behind clsight.

The thread asks whether [CLS] can be random at every forward pass, whether its value matters, since the model
can learn not to attend to it, and whether zeros are numerically bad; the reply is to make it a parameter.
"""

import torch
from torch import Tensor, nn

from clsight.cls_replacement import replaced
from clsight.cls_strategy import CLS_STRATEGIES, ClsToken, make

__all__ = [
    "CLS_STRATEGIES",
    "ClsToken",
    "FirstToken",
    "FixedRandom",
    "InputMean",
    "Learned",
    "LearnedNormal",
    "LearnedZeros",
    "MeanPooling",
    "RandomInTraining",
    "RandomPerForward",
    "Zeros",
    "make",
    "replaced",
]


class Learned(ClsToken, name="learned"):
    """A trained vector that starts from a truncated normal: what BERT and ViT do.

    This is the reply given in the thread: the query of [CLS] has to ask for something, so let training find
    it. All other strategies are measured against this one.

    Args:
        width: Channels of a token.
        seed: Start of the strategy's own random streams.
        std: Standard deviation of the start, cut at two of them.
    """

    def __init__(self, width: int, *, seed: int, std: float = 0.02) -> None:
        super().__init__(width, seed=seed)
        start = torch.empty(width, device="cpu")
        nn.init.trunc_normal_(start, std=std, a=-2 * std, b=2 * std, generator=self.stream())
        self.vector = nn.Parameter(start)


class LearnedZeros(ClsToken, name="learned_zeros"):
    """A trained vector that starts at zero.

    The thread asks whether zeros are numerically bad. Here only the start is zero: if this matches
    `learned`, the start does not matter, and a bad result of `zeros` comes from staying there. One thing is
    special at zero: norm first and no position embedding on [CLS], the first layer norm divides by √eps, and
    its gradient is about 316 times (1 / √1e-5) what it is at unit scale.
    """

    def __init__(self, width: int, *, seed: int) -> None:
        super().__init__(width, seed=seed)
        self.vector = nn.Parameter(torch.zeros(width, device="cpu"))


class LearnedNormal(ClsToken, name="learned_normal"):
    """A trained vector that starts from a standard normal, as `nn.Parameter(torch.randn(width))` does.

    It answers whether the scale of a trained start matters: fifty times that of `learned`, otherwise the
    same.
    """

    def __init__(self, width: int, *, seed: int) -> None:
        super().__init__(width, seed=seed)
        self.vector = nn.Parameter(self.draw_once(std=1.0))


class Zeros(ClsToken, name="zeros"):
    """The zero vector, never trained.

    The thread asks whether zeros are numerically bad. They are not, but only biases and a position
    embedding can then give [CLS] a query: without them its scores are all zero in the first layer, and its
    attention is uniform.
    """

    def initial(self, tokens: Tensor, token_mask: Tensor | None) -> Tensor:
        """Return zeros: [batch, time, width] -> [batch, width]."""
        return tokens.new_zeros(len(tokens), self.width)


class FixedRandom(ClsToken, name="fixed_random"):
    """One random vector, drawn when the model is built, never trained, saved with the model.

    The thread asks whether the value of [CLS] matters, since the model can adapt to it. Here the value is
    arbitrary and constant: what is missing against `learned` is what training the value is worth.

    Args:
        width: Channels of a token.
        seed: Start of the strategy's own random streams.
        std: Standard deviation of the draw.
    """

    def __init__(self, width: int, *, seed: int, std: float = 1.0) -> None:
        super().__init__(width, seed=seed)
        self.register_buffer("vector", self.draw_once(std))


class RandomPerForward(ClsToken, name="random_per_forward"):
    """A new random vector for each sample at every forward pass, also in eval mode.

    The thread's first question: can [CLS] be random at every forward pass? It can be trained, but the same
    input may then get two answers; `reseed` makes them repeatable.

    Args:
        width: Channels of a token.
        seed: Start of the strategy's own random streams.
        std: Standard deviation of the draws.
        shared: Draw one vector for the whole batch instead of one per sample.
    """

    draws_in_eval = True

    def __init__(self, width: int, *, seed: int, std: float = 1.0, shared: bool = False) -> None:
        super().__init__(width, seed=seed)
        self.std = std
        self.shared = shared

    def initial(self, tokens: Tensor, token_mask: Tensor | None) -> Tensor:
        """Return new draws for each sample or, if `shared`, for the batch: [batch, width]."""
        rows = 1 if self.shared else len(tokens)
        return self.draw(rows, self.std, tokens).expand(len(tokens), -1)


class RandomInTraining(ClsToken, name="random_in_training"):
    """Random per sample while training, one fixed draw in eval mode, saved with the model.

    It separates the two costs of `random_per_forward`: noise in training, which stays, and answers that
    change from one pass to the next, which do not occur here.

    Args:
        width: Channels of a token.
        seed: Start of the strategy's own random streams.
        std: Standard deviation of the draws.
    """

    def __init__(self, width: int, *, seed: int, std: float = 1.0) -> None:
        super().__init__(width, seed=seed)
        self.std = std
        self.register_buffer("vector", self.draw_once(std))

    def initial(self, tokens: Tensor, token_mask: Tensor | None) -> Tensor:
        """Return new draws per sample while training, else the fixed one: [batch, width]."""
        if self.training:
            return self.draw(len(tokens), self.std, tokens)
        return super().initial(tokens, token_mask)


class InputMean(ClsToken, name="input_mean"):
    """The mean of the sample's own real tokens, before positions are added.

    A [CLS] that starts from the input instead of from a constant: it answers whether a value that already
    knows something about the sample helps.
    """

    def initial(self, tokens: Tensor, token_mask: Tensor | None) -> Tensor:
        """Return the mean over each sample's real tokens: [batch, time, width] -> [batch, width]."""
        return _mean_over_real(tokens, token_mask)


class MeanPooling(ClsToken, name="mean_pooling"):
    """A control without [CLS]: the answer is read off the mean over real tokens.

    It answers whether the task needs a [CLS] at all.
    """

    in_sequence = False
    readout_index = None

    def prepend(self, tokens: Tensor, token_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return tokens and mask as they are: nothing is put in front."""
        return tokens, token_mask

    def read_out(self, states: Tensor, token_mask: Tensor | None) -> Tensor:
        """Return the mean over real tokens: states [batch, time, width] -> [batch, width]."""
        return _mean_over_real(states, token_mask)


class FirstToken(ClsToken, name="first_token"):
    """The bug of the thread's code, on purpose: [CLS] never enters the encoder.

    That code builds `tokens` with [CLS] in front, then encodes `x`, and reads position 0: an ordinary
    token. It answers how much a model loses, or does not lose, by this bug.
    """

    in_sequence = False

    def prepend(self, tokens: Tensor, token_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return tokens and mask as they are: this is the bug."""
        return tokens, token_mask


def _mean_over_real(tokens: Tensor, token_mask: Tensor | None) -> Tensor:
    if token_mask is None:
        return tokens.mean(dim=1)
    real = token_mask.unsqueeze(-1)  # [batch, time, 1]
    total = tokens.masked_fill(~real, 0).sum(dim=1)  # where, not a product: padding may hold NaN
    return total / real.sum(dim=1).clamp(min=1)
