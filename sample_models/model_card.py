"""The text of a sample model's README, filled with what was measured."""

from string import Template
from typing import Any

ANSWERS = {
    "learned": "a trained vector, started from a truncated normal of std 0.02, as in BERT and ViT",
    "zeros": "the zero vector, never trained",
    "fixed_random": "one vector drawn from N(0, 1) when the model was built, never trained",
    "random_per_forward": "a new vector from N(0, 1) per image at every forward pass, also after training",
}

CARD = Template("""\
# $name

A transformer encoder of 3 layers and 4 heads (width $width, norm first, position embedding for [CLS] and
patches, $parameters parameters) that reads the digit in an 8 × 8 image, cut into 16 patches of 2 × 2
pixels, off [CLS]. What is special here is how [CLS] begins, `$strategy`:
$answer.

## Measured

$measured

One seed and one split: small differences between the sample models can be chance.

## Data

The 1,797 images of `sklearn.datasets.load_digits`: a copy of the test part of *Optical Recognition of
Handwritten Digits*, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998,
doi:10.24432/C50P49, licence CC BY 4.0; scikit-learn is under the BSD 3-clause licence. Here: pixels
divided by 16; $train images to train on, $test held out, stratified, no image in both.
`examples.safetensors` holds $examples of the held-out images, two per digit, under the licence of the data.

## Use and limits

Made to look into: small, quick, four versions that differ in one thing. Not made to read digits
elsewhere: the images are 8 × 8, normalized in size, by 13 writers. The data do not name the writers, so
one writer's digits may be on both sides of the split. $limit

## Made by

    python sample_models/train.py --only $strategy

Seed $seed, $epochs epochs of AdamW with a cosine schedule, images shifted by at most one pixel, one
thread; torch $torch, scikit-learn $sklearn. All settings and measurements
are in `metrics.json`. Licence of the weights: MIT.
""")

_REPEATABLE = "Its answers are the same at every forward pass."
_RANDOM = (
    "Its answers change from one forward pass to the next, unless `reseed()` goes before: its very point."
)


def card(name: str, metrics: dict[str, Any]) -> str:
    """Return the README of one sample model; `metrics` is what `metrics.json` holds."""
    strategy = metrics["strategy"]
    return CARD.substitute(
        name=name,
        strategy=strategy,
        answer=ANSWERS[strategy],
        width=metrics["width"],
        parameters=f"{metrics['parameters']:,}",
        measured=_measured(metrics),
        train=f"{metrics['train_images']:,}",
        test=metrics["test_images"],
        examples=metrics["examples"],
        limit=_RANDOM if "test_accuracy_per_draw" in metrics else _REPEATABLE,
        seed=metrics["recipe"]["seed"],
        epochs=metrics["recipe"]["epochs"],
        torch=metrics["versions"]["torch"],
        sklearn=metrics["versions"]["scikit-learn"],
    )


def _measured(metrics: dict[str, Any]) -> str:
    accuracy, test = metrics["test_accuracy"], metrics["test_images"]
    if "test_accuracy_per_draw" not in metrics:
        return f"- accuracy on the {test} held-out images: {accuracy:.3f} ({round(accuracy * test)} right)"
    draws = metrics["test_accuracy_per_draw"]
    return (
        f"- accuracy on the {test} held-out images: {accuracy:.3f}, the mean over {len(draws)} draws "
        f"of [CLS] (from {min(draws):.3f} to {max(draws):.3f})\n"
        f"- held-out images whose predicted digit is not the same in all {len(draws)} draws: "
        f"{100 * metrics['changing_predictions']:.1f} %"
    )
