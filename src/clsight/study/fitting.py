"""Fit one model as its settings say, the same numbers every time: one torch thread, streams by seed.

Two settings that differ in their strategy alone see the same batches in the same order, and all their weights
outside [CLS] begin the same: what differs afterwards comes from [CLS].
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.study.run_settings import RunSettings
from clsight.study.tasks import Data, Part, Task
from clsight.study.tasks.task import stream

_EVALUATED_AT_ONCE = 1024


@dataclass
class Epoch:
    """What was measured at the end of an epoch; epoch 0 is before training.

    Attributes:
        step: Optimizer steps so far.
        loss: Mean training loss of the epoch, in nats; NaN before training.
        accuracy: On the validation part, in [0, 1].
        learning_rate: Of the last step; NaN before training.
        gradient: Mean norm of the gradient at the vector of CLS; NaN where it is not trained.
        norm: Of the vector of CLS; NaN where it has none of its own.
        drift: Distance of that vector from its start.
    """

    step: int
    loss: float
    accuracy: float
    learning_rate: float
    gradient: float
    norm: float
    drift: float


@dataclass
class Training:
    """A model in training.

    Attributes:
        model: The model.
        steps: How many there will be.
        step: How many optimizer steps were made.
        history: One entry per epoch, and one before the first.
        diverged: Whether the loss stopped being finite; training ends there.
        rate: The learning rate of the last step.
    """

    model: ClassificationTransformer
    steps: int
    step: int = 0
    history: list[Epoch] = field(default_factory=list)
    diverged: bool = False
    rate: float = math.nan

    def note(self, data: Data, start: Tensor | None, losses: list[float], gradients: list[float]) -> None:
        """Measure the model at the end of an epoch."""
        vector = _vector(self.model)
        self.history.append(
            Epoch(
                self.step,
                _mean(losses),
                accuracy(self.model, data.validation),
                self.rate,
                _mean(gradients),
                math.nan if vector is None else float(vector.norm()),
                math.nan if vector is None or start is None else float((vector - start).norm()),
            )
        )
        self.diverged = bool(losses) and not math.isfinite(self.history[-1].loss)


def new_model(settings: RunSettings, task: Task) -> ClassificationTransformer:
    """Return the untrained model of some settings."""
    return ClassificationTransformer(
        ModelConfig(
            **task.model,
            width=settings.width,
            heads=settings.heads,
            layers=settings.layers,
            feedforward=settings.feedforward,
            norm=settings.norm,
            bias=settings.bias,
            position=settings.position,
            strategy=settings.strategy,
            strategy_options=settings.strategy_options,
            seed=settings.seed,
        )
    )


def fit(settings: RunSettings, task: Task, data: Data) -> Iterator[Training]:
    """Yield the training before the first step and after each, the same object every time.

    What is done in between must leave the weights alone; draws and modes may change, and are put back.

    Args:
        settings: What to train and how.
        task: The task of the settings.
        data: Its parts for the seed of the settings.
    """
    model = new_model(settings, task)
    start = _vector(model)
    in_epoch = len(data.train) // settings.batch
    training = Training(model, settings.epochs * in_epoch)
    optimizer = _optimizer(model, settings)
    warmup = round(settings.warmup * training.steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: _factor(n, training.steps, warmup))
    generator = stream(settings.seed, purpose=2)
    training.note(data, start, [], [])
    yield training
    for _ in range(settings.epochs):
        losses, gradients = [], []
        for part in _batches(data.train, settings.batch, task, generator):
            model.train()
            loss = cross_entropy(model(part.inputs, part.token_mask), part.labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            training.rate = float(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            training.step += 1
            losses.append(loss.item())
            gradients.append(_gradient(model))
            if len(losses) == in_epoch:
                training.note(data, start, losses, gradients)
            yield training
        if training.diverged:
            return


@contextmanager
def drawn_anew(model: ClassificationTransformer, seed: int | None = None) -> Iterator[None]:
    """Start the draws of CLS anew inside the block; training goes on afterwards as if nothing had been drawn.

    Args:
        model: The model.
        seed: Of the draws; None for that of the model.
    """
    state = model.cls_token.generator.get_state()
    model.reseed(seed)
    try:
        yield
    finally:
        model.cls_token.generator.set_state(state)


@torch.no_grad()
def logits_on(model: ClassificationTransformer, part: Part, *, seed: int | None = None) -> Tensor:
    """Return the logits `[sample, class]` in eval mode; draws of CLS start anew, from a seed if given."""
    model.eval()
    starts = range(0, len(part), _EVALUATED_AT_ONCE)
    batches = [part.of(slice(start, start + _EVALUATED_AT_ONCE)) for start in starts]
    with drawn_anew(model, seed):
        return torch.cat([model(batch.inputs, batch.token_mask) for batch in batches])


def accuracy(model: ClassificationTransformer, part: Part) -> float:
    """Return the share of samples whose class is told right, in [0, 1]."""
    return float((logits_on(model, part).argmax(-1) == part.labels).double().mean())


def _optimizer(model: ClassificationTransformer, settings: RunSettings) -> torch.optim.Optimizer:
    decayed = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _factor(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate: a linear rise, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _batches(part: Part, size: int, task: Task, generator: Generator) -> Iterator[Part]:
    """Yield one epoch of shuffled batches; the last incomplete one is left out."""
    order = torch.randperm(len(part), generator=generator)
    for number in range(len(part) // size):
        batch = part.of(order[number * size : (number + 1) * size])
        if task.augment is not None:
            batch = Part(task.augment(batch.inputs, generator), batch.labels, batch.token_mask)
        yield batch


def _vector(model: ClassificationTransformer) -> Tensor | None:
    """Return a copy of the vector that CLS starts from; None where it is not one vector."""
    vector = getattr(model.cls_token, "vector", None)
    return vector.detach().clone() if isinstance(vector, Tensor) else None


def _gradient(model: ClassificationTransformer) -> float:
    vector = getattr(model.cls_token, "vector", None)
    if not isinstance(vector, Tensor) or vector.grad is None:
        return math.nan
    return float(vector.grad.norm())


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
