"""What does redrawing [CLS] cost? Several forward passes of the same inputs, other draws in each."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from clsight.doctor.examination import Examination, Look
from clsight.doctor.wording import percent

_DRAWS: Final = 8


@dataclass(frozen=True)
class Redrawn:
    """How much the answer moves between passes.

    Attributes:
        draws: Number of passes.
        icc: ICC(1): the share of the output's variance that lies between samples, 1 if draws change nothing.
        flip_rate: How often two passes disagree on the predicted class, in [0, 1]; None where the output is
            not known to be logits.
        difference: How far two passes differ, over the typical size of the output.
    """

    draws: int
    icc: float
    flip_rate: float | None
    difference: float

    @property
    def share(self) -> float:
        """The share of the output's variance that the draws cause, in [0, 1]."""
        return min(1.0, max(0.0, 1.0 - self.icc))

    @property
    def told(self) -> str:
        """The rest of a sentence about two passes: how often the class differs, or how far the output."""
        if self.flip_rate is None:
            return f", and two passes differ by {self.difference:.2g} times its typical size"
        return f", and two passes disagree on the class of {percent(self.flip_rate, 1)} of them"


def redrawn(examination: Examination) -> Redrawn:
    """Return the cost of redrawing, over several passes of the examined samples."""
    answers = torch.stack(
        [_answer(examination.look(seed=seed)) for seed in range(_DRAWS)]
    )  # [draw, sample, channel]
    flips = flip_rate(answers) if examination.gives_classes else None
    return Redrawn(_DRAWS, icc(answers), flips, difference(answers))


def icc(answers: Tensor) -> float:
    """Return the intraclass correlation ICC(1) of `[draw, sample, channel]`, variances summed over channels.

    (between − within / draws) / total, where `between` is the variance of the samples' means and `within` the
    mean variance of a sample's draws; NaN for one sample.
    """
    draws, samples, _ = answers.shape
    if samples < 2:
        return float("nan")
    within = float(answers.var(dim=0).sum(dim=1).mean())
    between = float(answers.mean(dim=0).var(dim=0).sum()) - within / draws
    total = between + within
    return between / total if total > 0 else float("nan")


def flip_rate(answers: Tensor) -> float:
    """Return how often two of the draws disagree on the largest channel, mean over samples and pairs."""
    classes = answers.argmax(dim=2)  # [draw, sample]
    differ = (classes[:, None] != classes[None]).float().mean(dim=2)  # [draw, draw]
    draws = len(classes)
    return float(differ.sum() / (draws * (draws - 1)))


def difference(answers: Tensor) -> float:
    """Return how far two of the draws differ: the root mean square over pairs, over that of the answers."""
    size = float(answers.square().mean().sqrt())
    return float((2 * answers.var(dim=0)).mean().sqrt()) / (size or 1.0)  # E(a − b)² is twice the variance


def _answer(look: Look) -> Tensor:
    """Return what a sample is answered with, `[sample, channel]`: logits, else [CLS] after the last layer."""
    logits, states = look.result.logits, look.states.cls_leaving
    answer = logits if logits is not None else states
    if answer is None:
        answer = look.result.outputs[0].flatten(start_dim=1)
    return answer.double()
