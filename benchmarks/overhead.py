"""What does a capture cost? Time and extra peak memory of plain forward, capture, and dense weights.

    python benchmarks/overhead.py [--repeats 7] [--threads 1]

BERT-base geometry (12 layers, 12 heads, width 768, feed-forward 3072) as `nn.TransformerEncoder`, float32,
eval mode, no gradients. "plain" is torch's native encoder code; "sdpa" is the same module with that switched
off, so that it calls `scaled_dot_product_attention`, as the models of other libraries do. "dense" asks
`nn.MultiheadAttention` for its weights, one [sample, head, token, token] array per layer, as tools do that
read attention from the model's output. Times are taken in turn in one process and compared round by round.
Memory is the rise of the peak resident size over the built model, each way in processes of its own (Linux
with glibc), with large blocks given back to the system when they are freed (MALLOC_MMAP_THRESHOLD_): what is
in use at once, not what the C library holds on to. Ratios are medians.

The last table is the hard case: a model so small (3 layers, width 48, 17 tokens, 64 samples) that looking at
it costs more than running it. There "capture" is one call of `clsight.capture`, and "recorder" one more
forward pass inside an open `clsight.Recorder`.
"""

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import clsight

SHAPES = ((8, 128), (4, 512), (1, 2048))
WAYS = ("plain", "sdpa", "capture", "dense")
MEMORY_ROUNDS = 3
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}


def encoder(layers: int = 12) -> nn.TransformerEncoder:
    """Return an encoder of BERT-base geometry with weights from a fixed seed."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()


@contextmanager
def dense_weights(model: nn.TransformerEncoder) -> Iterator[list[torch.Tensor]]:
    """Make each layer give all its weights, as `output_attentions=True` does elsewhere."""
    kept: list[torch.Tensor] = []

    def ask(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": False}

    def keep(module: nn.Module, args: tuple, output: tuple) -> None:
        kept.append(output[1])

    handles = []
    for layer in model.layers:
        handles.append(layer.self_attn.register_forward_pre_hook(ask, with_kwargs=True))
        handles.append(layer.self_attn.register_forward_hook(keep))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def run(way: str, model: nn.TransformerEncoder, x: torch.Tensor) -> None:
    """Run one forward pass in one of the three ways."""
    with torch.no_grad():
        if way == "plain":
            model(x)
        elif way == "sdpa":
            torch.backends.mha.set_fastpath_enabled(False)
            model(x)
            torch.backends.mha.set_fastpath_enabled(True)
        elif way == "capture":
            clsight.capture(model, x)
        else:
            with dense_weights(model):
                model(x)


def seconds(action: Callable[[], None]) -> float:
    """Return how long the action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def time_ratios(samples: int, tokens: int, repeats: int) -> dict[str, float]:
    """Return the median seconds of a plain forward, each way over plain, and capture over sdpa."""
    model, x = encoder(), torch.randn(samples, tokens, 768)
    for way in WAYS:
        run(way, model, x)
    rounds = [{way: seconds(lambda way=way: run(way, model, x)) for way in WAYS} for _ in range(repeats)]
    result = {"plain": statistics.median(times["plain"] for times in rounds)}
    for way in WAYS[1:]:
        result[way] = statistics.median(times[way] / times["plain"] for times in rounds)
    result["capture ÷ sdpa"] = statistics.median(times["capture"] / times["sdpa"] for times in rounds)
    return result


def tiny_ratios(repeats: int) -> dict[str, float]:
    """Return the median time of a tiny model in seconds, and of looking at it over plain, in turn."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(48, 4, 96, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    x = torch.randn(64, 17, 48)
    rounds = []
    with torch.no_grad():
        for _ in range(50 * repeats):
            times = {way: seconds(lambda way=way: run(way, model, x)) for way in ("plain", "capture")}
            with clsight.Recorder(model):
                model(x)
                times["recorder"] = seconds(lambda: model(x))
            rounds.append(times)
    result = {"plain": statistics.median(times["plain"] for times in rounds)}
    for way in ("capture", "recorder"):
        result[way] = statistics.median(times[way] / times["plain"] for times in rounds)
    return result


def warm_up() -> None:
    """Run a capture of a small model: what the first call loads is no cost of the sequence."""
    clsight.capture(encoder(layers=1), torch.randn(1, 16, 768))


def peak_mebibytes(action: Callable[[], object]) -> float:
    """Return by how much the peak resident size rises during the action, in MiB."""
    gc.collect()  # what building left behind would go, or be used again, during the action: less rise
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    _RESET.write_text("5")
    before = _resident("VmRSS")
    action()
    return (_resident("VmHWM") - before) / 1024


def _resident(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1])


def in_own_process(script: str, *arguments: str) -> dict[str, float]:
    """Run one measurement of a script in a process of its own, which prints JSON."""
    command = [sys.executable, script, "--one", *arguments]
    environment = {**os.environ, **_GIVE_BACK}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def median_memory(way: str, samples: int, tokens: int) -> float:
    """Return the median rise of the peak resident size over some processes, in MiB."""
    found = [in_own_process(__file__, way, str(samples), str(tokens)) for _ in range(MEMORY_ROUNDS)]
    return statistics.median(one["mebibytes"] for one in found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="counted rounds per shape (default 7)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "SAMPLES", "TOKENS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        way, samples, tokens = options.one
        model, x = encoder(), torch.randn(int(samples), int(tokens), 768)
        warm_up()
        print(json.dumps({"mebibytes": peak_mebibytes(lambda: run(way, model, x))}))
        return
    print(f"torch {torch.__version__}, {options.threads} thread(s), median of {options.repeats} rounds\n")
    print(
        "| samples × tokens | plain | capture ÷ plain | capture ÷ sdpa | dense ÷ plain "
        "| memory: plain | sdpa | capture | dense |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for samples, tokens in SHAPES:
        times = time_ratios(samples, tokens, options.repeats)
        memory = {way: median_memory(way, samples, tokens) for way in WAYS}
        cells = [f"{samples} × {tokens}", f"{times['plain']:.2f} s"]
        cells += [f"{times[way]:.3f}" for way in ("capture", "capture ÷ sdpa", "dense")]
        cells += [f"{memory['plain']:.0f} MiB"]
        cells += [f"{memory[way]:.0f} MiB ({memory[way] / memory['plain']:.2f}×)" for way in WAYS[1:]]
        print(f"| {' | '.join(cells)} |", flush=True)
    tiny = tiny_ratios(options.repeats)
    print("\n| tiny model | plain | capture ÷ plain | recorder ÷ plain |")
    print("|---|---|---|---|")
    print(f"| 64 × 17 | {tiny['plain'] * 1e3:.1f} ms | {tiny['capture']:.2f} | {tiny['recorder']:.2f} |")


if __name__ == "__main__":
    main()
