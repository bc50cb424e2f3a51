"""How long may a sequence be? Extra peak memory of a capture as tokens double, and what rollout costs.

    python benchmarks/long_sequences.py [--longest 16384]

BERT-base geometry, one sample, float32, each measurement in a process of its own (Linux with glibc). Memory
is what is in use at once, as `overhead.py` says. The last column is computed, not run: one layer's [head,
token, token] weights in float32, which tools that ask for weights hold for each layer. For rollout, queries
are three times as large as initialized, so that attention is not nearly uniform.
"""

import argparse
import json
import statistics

import numpy as np
import torch
from overhead import encoder, in_own_process, peak_mebibytes, seconds, warm_up

import clsight

HEADS = 12


def rollout_cost(tokens: int, repeats: int) -> dict[str, float]:
    """Return the time of a capture without and with rollout over plain, and rollout's error against dense."""
    model, x = sharp_encoder(), torch.randn(1, tokens, 768)

    def plain() -> None:
        with torch.no_grad():
            model(x)

    ways = {
        "capture": lambda: clsight.capture(model, x),
        "rollout": lambda: clsight.capture(model, x, keep="rollout"),
    }
    plain()
    rounds = []
    for _ in range(repeats):
        base = seconds(plain)
        rounds.append({name: seconds(way) / base for name, way in ways.items()})
    result = {name: statistics.median(times[name] for times in rounds) for name in ways}
    found = clsight.capture(model, x, keep="rollout")["rollout"].values[0]
    return {**result, "error": float(np.abs(found - dense_rollout(model, x)).max())}


def dense_rollout(model: torch.nn.TransformerEncoder, x: torch.Tensor) -> np.ndarray:
    """Return rollout of CLS by whole matrices in float64, from the states of a real forward."""
    states, rows = x, torch.eye(x.shape[1], dtype=torch.float64)
    with torch.no_grad():
        for layer in model.layers:
            attention = layer.self_attn
            query, key = (states @ attention.in_proj_weight[:1536].T + attention.in_proj_bias[:1536]).chunk(
                2, -1
            )
            mean = torch.zeros_like(rows)
            for head in range(HEADS):
                part = slice(head * 64, head * 64 + 64)
                scores = query[0, :, part].double() @ key[0, :, part].double().T / 8
                mean += torch.softmax(scores, dim=-1) / HEADS
            rows = (0.5 * mean + 0.5 * torch.eye(len(mean), dtype=torch.float64)) @ rows
            states = layer(states)
    return rows[0].numpy()


def sharp_encoder() -> torch.nn.TransformerEncoder:
    """Return an encoder whose attention is far from uniform."""
    model = encoder()
    with torch.no_grad():
        for layer in model.layers:
            layer.self_attn.in_proj_weight[:768] *= 3
    return model


def one(what: str, tokens: int) -> dict[str, float]:
    """Measure one thing."""
    warm_up()
    if what == "rollout":
        return rollout_cost(tokens, repeats=3)
    if what == "rollout memory":
        model, x = encoder(), torch.randn(1, tokens, 768)
        return {"mebibytes": peak_mebibytes(lambda: clsight.capture(model, x, keep="rollout"))}
    model, x = encoder(), torch.randn(1, tokens, 768)

    def run() -> None:
        with torch.no_grad():
            model(x) if what == "plain" else clsight.capture(model, x)

    return {"mebibytes": peak_mebibytes(run)}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--longest", type=int, default=16_384, help="longest sequence (default 16384)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "TOKENS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(one(options.one[0], int(options.one[1]))))
        return
    print("| tokens | plain, extra memory | capture, extra memory | growth | dense weights, one layer |")
    print("|---|---|---|---|---|")
    tokens, before = 2048, None
    while tokens <= options.longest:
        plain = in_own_process(__file__, "plain", str(tokens))["mebibytes"]
        capture = in_own_process(__file__, "capture", str(tokens))["mebibytes"]
        growth = f"{capture / before:.2f}×" if before else ""
        dense = HEADS * tokens**2 * 4 / 2**20
        print(
            f"| {tokens:,} | {plain:,.0f} MiB | {capture:,.0f} MiB | {growth} | {dense:,.0f} MiB |",
            flush=True,
        )
        tokens, before = 2 * tokens, capture
    cost = in_own_process(__file__, "rollout", "2048")
    memory = in_own_process(__file__, "rollout memory", "2048")["mebibytes"]
    ratios = f"capture {cost['capture']:.3f} × plain, with rollout {cost['rollout']:.3f} × plain"
    print(f"\nAt 2,048 tokens: {ratios};")
    print(f"rollout off whole float64 matrices by {cost['error']:.1e}, extra memory {memory:,.0f} MiB.")


if __name__ == "__main__":
    main()
