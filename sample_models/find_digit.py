"""Train the model that has to find its evidence: `python sample_models/find_digit.py`.

A digit of scikit-learn's stands at a random place on a crop of one of its two photographs, and the model
reads it. Where it stands is known, so that an attribution can be compared with the evidence. Nothing of the
test part is seen in training: the digits are other images, and the crops are from the other photograph.

Places are whole patches apart. A model this small does not learn free ones from so few digits: after 30
epochs it read 14 % of them, against 96 %.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any

import sklearn
import torch
from torch.nn.functional import cross_entropy
from train import HERE, Recipe, answers_on, cosine, split_digits

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import replacing_folder, write_model
from clsight.study.tasks.scenes import PATCH, SIZE, Scenes, photograph, scenes

TEST_IMAGES = 360
RECIPE = Recipe(epochs=60, learning_rate=1e-3)


CARD = Template("""\
# find-digit

A transformer encoder of 4 layers and 4 heads (width 64, norm first, $parameters parameters) that reads a
handwritten digit of 8 × 8 pixels somewhere on a photograph, 24 × 24 pixels in 36 patches of 4 × 4. Where the
digit stands is known: $evidence patches hold ink, on average.

## Measured

It reads $accuracy % of $test held-out digits, on crops of a photograph that it never saw. One seed.

## Data

The digits of `sklearn.datasets.load_digits`: a copy of the test part of *Optical Recognition of Handwritten
Digits*, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, licence CC BY
4.0; $train images to train on, the others held out. The photographs of `sklearn.datasets.load_sample_image`,
made gray and darker: china.jpg (flickr.com/photos/danielbuechele) in training, flower.jpg
(flickr.com/photos/vultilion) in the test, licence CC BY 2.0. scikit-learn is under the BSD 3-clause licence.
`examples.safetensors` holds $examples held-out scenes, two per digit.

Trained by `python sample_models/find_digit.py`.
""")


def held_out_scenes(count: int = TEST_IMAGES, seed: int = 1) -> Scenes:
    """Return held-out digits on crops of the other photograph; the same for the same seed."""
    digits = split_digits()
    images, labels = digits.test_images[:count], digits.test_labels[:count]
    return scenes(images, labels, photograph("flower.jpg"), torch.Generator().manual_seed(seed))


def build(seed: int) -> ClassificationTransformer:
    """Return the untrained model: 36 patches of 16 pixels, 4 layers of 4 heads, norm first."""
    return ClassificationTransformer(
        ModelConfig(
            classes=10,
            width=64,
            heads=4,
            layers=4,
            feedforward=128,
            embedding="patch",
            image_size=(SIZE, SIZE),
            patch_size=(PATCH, PATCH),
            strategy="learned",
            seed=seed,
        )
    )


def fit(model: ClassificationTransformer, recipe: Recipe) -> list[float]:
    """Train in place, on new places and crops in each epoch; return the mean loss of each, in nats."""
    digits, background = split_digits(), photograph("china.jpg")
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    count = len(digits.train_images)
    steps = recipe.epochs * (count // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine(step, steps, recipe.warmup_steps)
    )
    model.train()
    losses = []
    for _ in range(recipe.epochs):
        epoch = scenes(digits.train_images, digits.train_labels, background, generator)
        total = 0.0
        order = torch.randperm(count, generator=generator).split(recipe.batch)[: count // recipe.batch]
        for chosen in order:
            loss = cross_entropy(model(epoch.images[chosen]), epoch.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        losses.append(total / len(order))
    model.eval()
    return losses


def accuracy(model: ClassificationTransformer, found: Scenes) -> float:
    """Return the share of scenes whose digit is read right."""
    with torch.no_grad():
        return float((model(found.images).argmax(-1) == found.labels).double().mean())


def make_sample(recipe: Recipe, target: Path) -> dict[str, Any]:
    """Train the model and write its folder, whole or not at all; return the metrics."""
    model = build(recipe.seed)
    losses = fit(model, recipe)
    found = held_out_scenes()
    chosen = torch.cat([(found.labels == digit).nonzero()[:2, 0] for digit in range(10)]).sort().values
    arrays = {"inputs": found.images[chosen].numpy(), "labels": found.labels[chosen].numpy()}
    metrics = {
        "test_accuracy": round(accuracy(model, found), 6),
        "train_images": len(split_digits().train_images),
        "test_images": len(found.images),
        "evidence_patches": round(float(found.evidence.sum(1).double().mean()), 2),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "loss_per_epoch": [round(loss, 5) for loss in losses],
        "recipe": asdict(recipe),
        "versions": {"torch": torch.__version__.split("+")[0], "scikit-learn": sklearn.__version__},
        "example_logits": answers_on(model, arrays["inputs"]),
    }
    with replacing_folder(target / "find-digit", overwrite=True) as folder:
        write_model(model, folder, classes=tuple("0123456789"), arrays=arrays)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        told = {
            "accuracy": f"{100 * metrics['test_accuracy']:.1f}",
            "evidence": f"{metrics['evidence_patches']:.1f}",
            "parameters": f"{metrics['parameters']:,}",
            "train": f"{metrics['train_images']:,}",
            "test": metrics["test_images"],
            "examples": len(arrays["inputs"]),
        }
        (folder / "README.md").write_text(CARD.substitute(told), encoding="utf-8")
    return metrics


def main() -> None:
    """Train the model and print what was measured."""
    parser = argparse.ArgumentParser(description="Train clsight's sample model that has to find its digit.")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs, help=f"default {RECIPE.epochs}")
    parser.add_argument("--target", type=Path, default=HERE, help="folder to write to (default: here)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of additions, and with it the last bits, depends on it
    start = time.perf_counter()
    recipe = Recipe(**{**asdict(RECIPE), "epochs": arguments.epochs})
    metrics = make_sample(recipe, arguments.target)
    print(
        f"test accuracy {metrics['test_accuracy']:.3f}, {metrics['evidence_patches']} of 36 patches hold ink"
        f"  ({time.perf_counter() - start:.0f} s)"
    )


if __name__ == "__main__":
    main()
