"""How much does an answer depend on the draw of CLS? Flip rate, ICC, spread, and a vote of draws."""

import torch
from torch import Tensor

from clsight.models import ClassificationTransformer
from clsight.study.fitting import logits_on
from clsight.study.tasks import Part

Numbers = dict[str, float]
DRAWS = 16


def spread_over_draws(model: ClassificationTransformer, part: Part, *, draws: int = DRAWS) -> Numbers:
    """Return how answers differ between draws of CLS, each sample asked `draws` times; empty without draws.

    `flip_rate`: chance that two draws give different predictions. `icc`: ICC(1) of the probability of the
    true class: share of its variance that lies between samples (Shrout & Fleiss 1979, doi
    10.1037/0033-2909.86.2.420). `probability_spread`: mean over samples of the standard deviation of that
    probability over draws. `vote_accuracy`: of the class that most draws name, the smallest of equals.
    """
    if not model.cls_token.draws_in_eval:
        return {}
    answers = torch.stack([_of_draw(model.eval(), part, number) for number in range(draws)])
    predicted = answers.argmax(-1)  # [draw, sample]
    counts = torch.nn.functional.one_hot(predicted, answers.shape[-1]).sum(0).double()  # [sample, class]
    same = (counts * (counts - 1)).sum(-1) / (draws * (draws - 1))
    of_true = answers.gather(2, part.labels.expand(draws, -1)[..., None])[..., 0]  # [draw, sample]
    return {
        "flip_rate": float((1 - same).mean()),
        "icc": icc(of_true),
        "probability_spread": float(of_true.std(0).mean()),
        "vote_accuracy": float((counts.argmax(-1) == part.labels).double().mean()),
    }


def icc(values: Tensor) -> float:
    """Return ICC(1) of values `[draw, sample]`: at most 1; NaN where they do not vary at all."""
    draws = len(values)
    between = draws * values.mean(0).var()
    within = values.var(0).mean()
    total = between + (draws - 1) * within
    return float((between - within) / total) if float(total) > 0 else float("nan")


def _of_draw(model: ClassificationTransformer, part: Part, number: int) -> Tensor:
    """Return the probabilities `[sample, class]` in float64 under one seed of the draws."""
    return logits_on(model, part, seed=number).double().softmax(-1)
