"""What do analyses and interventions cost, against the way they were published?

    python benchmarks/analysis.py [--only value_zeroing] [--repeats 3] [--threads 1]

One row per function in `ROWS`, each on `nn.TransformerEncoder` of BERT-base geometry (width 768, 12 heads,
feed-forward 3072), float32, eval mode, no gradients. "clsight" is the public function as a user calls it,
"original" the published way, written here in plain torch; both are run in turn in one process after a
warm-up. Times are medians; "difference" is the largest between the two results, so that no row compares two
different things.

value_zeroing: two layers, one sample of 197 tokens. The original runs each layer once per token, on the whole
sequence, with the value of that token set to zero.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

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


ROWS: dict[str, Callable[[int], Row]] = {"value_zeroing": row_of_value_zeroing}
"""Every row of the table by name; each function gets the number of counted repeats."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=ROWS, nargs="*", help="rows to print (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="counted rounds (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), median of {options.repeats} rounds\n")
    print("| | clsight | original | times faster | difference |")
    print("|---|---|---|---|---|")
    for name in options.only or ROWS:
        print(f"| {' | '.join(ROWS[name](options.repeats).cells())} |", flush=True)


if __name__ == "__main__":
    main()
