"""What does tracking a training cost? Steps with a `Tracker(every=100)` against steps without.

    python benchmarks/tracking.py [--repeats 12] [--every 100] [--threads 1]

A worst case: the training of the sample models on scikit-learn's digits (3 layers, width 48, batches of 64 of
17 tokens), whose steps are so short that a look costs most beside them. Two copies of the model are trained
on the same batches with AdamW, one of them tracked on 4 probe images, and with its loss. They take turns,
`every` steps at a time, each first in half of the turns, so that every turn of the tracked one holds one
look. "with ÷ without" is the median over pairs of turns; "inside" is the time spent in `tracker.step` over
the rest of the same turn, which other programs of the machine disturb less. The first pair is not counted.
At the end both models must have the same weights, bit for bit.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy

from clsight.models import ClassificationTransformer, ModelConfig
from clsight.tracking import Tracker, open_training

BATCH, PROBES = 64, 4


def digits() -> tuple[Tensor, Tensor]:
    """Return the images [sample, 8, 8] in 0..1 and their labels."""
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images.reshape(-1, 8, 8) / 16, dtype=torch.float32), torch.tensor(labels)


def build() -> ClassificationTransformer:
    """Return the untrained model, the same each time."""
    shape = {
        "width": 48,
        "heads": 4,
        "layers": 3,
        "feedforward": 96,
        "image_size": (8, 8),
        "patch_size": (2, 2),
    }
    return ClassificationTransformer(ModelConfig(classes=10, embedding="patch", **shape)).train()


@dataclass
class Loop:
    """A training that goes on some steps at a time; `after` is called with the loss after each step."""

    images: Tensor
    labels: Tensor
    after: Callable[[Tensor], None] | None = None
    model: ClassificationTransformer = field(default_factory=build)
    inside: float = 0.0

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3)
        self.order = torch.Generator().manual_seed(0)

    def seconds(self, steps: int) -> float:
        """Train so many steps and return how long it took; `inside` is the part of `after`."""
        self.inside = 0.0
        start = time.perf_counter()
        for _ in range(steps):
            chosen = torch.randint(len(self.images), (BATCH,), generator=self.order)
            loss = cross_entropy(self.model(self.images[chosen]), self.labels[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.after is not None:
                before = time.perf_counter()
                self.after(loss)
                self.inside += time.perf_counter() - before
        return time.perf_counter() - start


def measure(folder: Path, every: int, repeats: int, *, tensorboard: bool) -> dict[str, float]:
    """Return the medians of one way to track, and check that the training was not disturbed."""
    images, labels = digits()
    plain, tracked = Loop(images, labels), Loop(images, labels)
    options = {"every": every, "path": folder, "tensorboard": tensorboard}
    ratios, shares, steps = [], [], []
    with Tracker(tracked.model, images[:PROBES], **options) as tracker:
        tracked.after = lambda loss: tracker.step(loss=loss)
        for turn in range(repeats + 1):
            first, second = (plain, tracked) if turn % 2 else (tracked, plain)
            times = {id(loop): loop.seconds(every) for loop in (first, second)}
            ratios.append(times[id(tracked)] / times[id(plain)])
            shares.append(tracked.inside / (times[id(tracked)] - tracked.inside))
            steps.append(times[id(plain)] / every)
    states = zip(plain.model.state_dict().values(), tracked.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states), "the tracked training went another way"
    training = open_training(folder)
    assert training.sizes["step"] == repeats + 2
    files = [path.stat().st_size for path in folder.glob("step-*.npz")]
    return {
        "step": statistics.median(steps[1:]),
        "ratio": statistics.median(ratios[1:]),
        "least": min(ratios[1:]),
        "most": max(ratios[1:]),
        "inside": statistics.median(shares[1:]),
        "bytes": statistics.median(files),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=12, help="counted pairs of turns (default 12)")
    parser.add_argument("--every", type=int, default=100, help="steps between two looks (default 100)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), every={options.every}, ", end="")
    print(f"median of {options.repeats} pairs of turns (smallest to largest)\n")
    print("| | plain step | with ÷ without | inside | a tracked step takes |")
    print("|---|---|---|---|---|")
    for tensorboard in (False, True) if find_spec("tensorboard") else (False,):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), options.every, options.repeats, tensorboard=tensorboard)
        name = "record and TensorBoard" if tensorboard else "record"
        ratio = f"{found['ratio']:.3f} ({found['least']:.3f} to {found['most']:.3f})"
        cells = [name, f"{found['step'] * 1e3:.1f} ms", ratio, f"{found['inside']:.2%}"]
        print(f"| {' | '.join(cells)} | {found['bytes'] / 1e3:.1f} kB |", flush=True)


if __name__ == "__main__":
    main()
