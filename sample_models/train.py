"""Train the sample models on scikit-learn's digits: `python sample_models/train.py`.

One model per strategy of how [CLS] begins; all else is the same: data, split, order of the batches,
augmentation, all weights outside [CLS], all settings. With one torch version and one thread a run repeats bit
for bit.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from model_card import card
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.functional import cross_entropy

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import replacing_folder, write_model

STRATEGIES = ("learned", "zeros", "fixed_random", "random_per_forward")
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Recipe:
    """How to train; chosen on a validation part of the training images, never on the test images."""

    epochs: int = 100
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Digits:
    """Images [sample, 8, 8] in 0..1 and their labels, in two parts that share no image."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def split_digits(seed: int = 0) -> Digits:
    """Return 1,437 images to train on and 360 to test on, each digit equally frequent in both."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16).astype(np.float32)  # the data set counts 0 to 16
    parts = train_test_split(images, labels, test_size=0.2, random_state=seed, stratify=labels)
    train_images, test_images, train_labels, test_labels = (torch.from_numpy(part) for part in parts)
    return Digits(train_images, train_labels.long(), test_images, test_labels.long())


def build(strategy: str, recipe: Recipe) -> ClassificationTransformer:
    """Return the untrained model: 16 patches of 4 pixels, 3 layers of 4 heads, norm first."""
    return ClassificationTransformer(
        ModelConfig(
            classes=10,
            width=48,
            heads=4,
            layers=3,
            feedforward=96,
            embedding="patch",
            image_size=(8, 8),
            patch_size=(2, 2),
            strategy=strategy,
            seed=recipe.seed,
        )
    )


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by -1, 0 or 1 pixel along both axes, filling with background."""
    samples, height, width = images.shape
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, samples, 1, 1), generator=generator)
    rows = down + torch.arange(height).view(1, -1, 1)
    columns = right + torch.arange(width).view(1, 1, -1)
    return padded[torch.arange(samples).view(-1, 1, 1), rows, columns]


def batches(
    images: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give one epoch of shuffled, shifted batches; the last incomplete one is left out."""
    order = torch.randperm(len(images), generator=generator)
    for chosen in order.split(recipe.batch)[: len(images) // recipe.batch]:
        yield shifted(images[chosen], generator), labels[chosen]


def fit(model: ClassificationTransformer, images: Tensor, labels: Tensor, recipe: Recipe) -> list[float]:
    """Train in place and return the mean loss of each epoch, in nats."""
    generator = torch.Generator().manual_seed(recipe.seed)  # the data's own: order and shifts
    decayed = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() <= 1]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * (len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine(step, steps, recipe.warmup_steps)
    )
    model.train()
    losses = []
    for _ in range(recipe.epochs):
        epoch = []
        for x, y in batches(images, labels, recipe, generator):
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            epoch.append(loss.item())
        losses.append(math.fsum(epoch) / len(epoch))
    model.eval()
    model.reseed()
    return losses


def cosine(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate: a linear rise, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def predict(model: ClassificationTransformer, images: Tensor, *, draws: int) -> Tensor:
    """Return the predicted class for each draw of [CLS], [draw, sample]; draw i follows from seed i."""
    model.eval()
    predictions = []
    for draw in range(draws):
        model.reseed(draw)
        predictions.append(model(images).argmax(dim=-1))
    model.reseed()
    return torch.stack(predictions)


def measure(model: ClassificationTransformer, digits: Digits) -> dict[str, Any]:
    """Return the accuracy on the held-out images, for a random [CLS] over ten draws."""
    draws = 10 if model.cls_token.draws_in_eval else 1
    predicted = predict(model, digits.test_images, draws=draws)
    correct = (predicted == digits.test_labels).double().mean(dim=1)
    metrics: dict[str, Any] = {"test_accuracy": round(correct.mean().item(), 6)}
    if draws > 1:
        metrics["test_accuracy_per_draw"] = [round(value, 6) for value in correct.tolist()]
        metrics["changing_predictions"] = round(
            (predicted != predicted[0]).any(dim=0).double().mean().item(), 6
        )
    return metrics


def pick_examples(digits: Digits, per_class: int = 2) -> dict[str, np.ndarray[Any, Any]]:
    """Return the first held-out images of each digit, in the order they have in the held-out part."""
    chosen = (
        torch.cat([(digits.test_labels == digit).nonzero()[:per_class, 0] for digit in range(10)])
        .sort()
        .values
    )
    return {"inputs": digits.test_images[chosen].numpy(), "labels": digits.test_labels[chosen].numpy()}


def answers_on(model: ClassificationTransformer, images: np.ndarray[Any, Any]) -> list[list[float]]:
    """Return the logits a freshly loaded model gives, [sample][class]."""
    model.reseed()
    with torch.no_grad():
        return [[round(value, 5) for value in row] for row in model.eval()(torch.from_numpy(images)).tolist()]


def make_sample(strategy: str, digits: Digits, recipe: Recipe, target: Path) -> dict[str, Any]:
    """Train one model and write its folder, whole or not at all; return the metrics."""
    model = build(strategy, recipe)
    losses = fit(model, digits.train_images, digits.train_labels, recipe)
    arrays = pick_examples(digits)
    name = f"digits-{strategy.replace('_', '-')}"
    metrics = {
        "strategy": strategy,
        **measure(model, digits),
        "train_images": len(digits.train_images),
        "test_images": len(digits.test_images),
        "examples": len(arrays["inputs"]),
        "width": model.config.width,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "loss_per_epoch": [round(loss, 5) for loss in losses],
        "recipe": asdict(recipe),
        "versions": {"torch": torch.__version__.split("+")[0], "scikit-learn": sklearn.__version__},
        "example_logits": answers_on(model, arrays["inputs"]),
    }
    with replacing_folder(target / name, overwrite=True) as folder:
        write_model(model, folder, classes=tuple("0123456789"), arrays=arrays)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card(name, metrics), encoding="utf-8")
    return metrics


def main() -> None:
    """Train all sample models, or one, and print what was measured."""
    parser = argparse.ArgumentParser(description="Train clsight's sample models on scikit-learn's digits.")
    parser.add_argument("--only", choices=STRATEGIES, help="train this strategy alone")
    parser.add_argument(
        "--target", type=Path, default=HERE, help="folder to write to (default: beside this file)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of additions, and with it the last bits, depends on it
    digits = split_digits()
    for strategy in [arguments.only] if arguments.only else STRATEGIES:
        start = time.perf_counter()
        metrics = make_sample(strategy, digits, Recipe(), arguments.target)
        line = f"{strategy:20} test accuracy {metrics['test_accuracy']:.3f}"
        if "changing_predictions" in metrics:
            line += f", {100 * metrics['changing_predictions']:.1f} % of predictions change between draws"
        print(f"{line}  ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
