"""What do clsight and its peers cost for the same result, on the same model and the same inputs?

    python benchmarks/peers.py [--repeats 7] [--threads 1] [--samples 1]
    python benchmarks/peers.py --repeats 1 --layers 2 --tokens 50        # a quick trial

The first call makes an environment of its own, `benchmarks/.peers-venv`, from `peers-requirements.txt` and
`constraints.txt` (2 GB, minutes; `TORCH_INDEX=<url>` takes torch alone from another index). Models come from
transformers with weights from a fixed seed, ViT-B/16 and BERT-base, with their poolers, in float32 and eval
mode, without gradients and without padding. Each tool has to give the CLS row and the CLS column of the
attention weights, per layer and head, as tensors of their own; the rest of what it makes is dropped.

- plain: the forward pass under sdpa, without weights. What all others are divided by.
- clsight: `clsight.capture` of the sdpa model. Gives the row and the column, from a forward pass under sdpa,
  and by default the vectors of CLS and the norms of all values; "weights alone" is `keep=()`, without those.
- transformers: the eager model with `output_attentions=True`. Gives all weights; row and column are cut out.
- TransformerLens, cache: `TransformerBridge` (which makes the model eager), `run_with_cache` with a
  `names_filter` for the attention patterns alone. Gives all weights; row and column are cut out.
- TransformerLens, hooks: the same bridge, `run_with_hooks` with a hook on each pattern, written here, which
  keeps row and column.
- nnsight: a trace of the eager model, written here, which keeps row and column of each layer.
- AttnRead: `extract_attention` of all heads of the sdpa model. Gives all weights; row and column are cut out.
  It asks for `input_ids` or `inputs_embeds`, so ViT gets an `inputs_embeds` that it ignores. It runs with the
  torch and transformers of the others, newer or older than those it declares (2.14, 5.19).
- ViT-Prisma is left out: 0.1.4 pins plotly 5.19 and clsight needs 6.1; TransformerLens covers ViT.

Each case runs in a process of its own: for time with the plain forward in turn, after a first round that does
not count (a first round over 30 s is the only one), for memory alone (rise of the peak resident size over the
built model, Linux with glibc). Ratios are medians. The largest difference is that of any weight against
clsight's. The exit code is 1 if clsight fails, or if a tool's weights differ from clsight's by over 1e-6.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINS = ("benchmarks/peers-requirements.txt", "constraints.txt", "pyproject.toml")
ENVIRONMENT = ROOT / "benchmarks" / ".peers-venv"
PYTHON = ENVIRONMENT / "bin" / "python"
ATTNREAD_PINS = (
    "attnread==0.1.2",
    "nnsight==0.7.0",
)  # another nnsight than its peers: in a folder of its own
TOOLS = (
    "clsight",
    "clsight, weights alone",
    "transformers",
    "TransformerLens, cache",
    "TransformerLens, hooks",
    "nnsight",
    "AttnRead",
)
SHAPES = (("ViT-B/16", 197), ("ViT-B/16", 1025), ("BERT-base", 512))
TOLERANCE = 1e-6  # float32: weights near 1 / tokens, and different orders of summation through 12 layers

Found = dict[str, Any]  # what one measurement gave, or {"error": ...}


def main() -> None:
    """Print both tables."""
    options = asked_for()
    install()
    shapes = dict.fromkeys((name, options.tokens or tokens) for name, tokens in SHAPES)
    print(f"{versions()}\n{options.threads} thread(s), {options.layers} layers, {options.repeats} rounds\n")
    with tempfile.TemporaryDirectory() as folder:
        rows = [Row(name, tokens, options, Path(folder)) for name, tokens in shapes]
        tools = [tool for tool in TOOLS if tool not in options.without]
        wrong = print_times(rows, tools)
        print()
        wrong += print_memory(rows, tools)
    sys.exit("\n".join(wrong) or 0)


def asked_for() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="counted rounds per case (default 7)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--samples", type=int, default=1, help="batch size (default 1)")
    parser.add_argument("--layers", type=int, default=12, help="layers of each model (default 12)")
    parser.add_argument("--without", action="append", default=[], metavar="TOOL", help="leave out a peer")
    parser.add_argument("--tokens", type=int, help="for a trial: tokens of every case, a square plus 1")
    return parser.parse_args()


def install() -> None:
    """Make the peers' environment, unless it already is what the pins say."""
    pins = b"".join((ROOT / name).read_bytes() for name in PINS) + repr(ATTNREAD_PINS).encode()
    state, mark = hashlib.sha256(pins).hexdigest(), ENVIRONMENT / ".installed"
    if mark.exists() and mark.read_text() == state:
        return
    print(f"Installing the peers into {ENVIRONMENT}; this takes some minutes.", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
    pinned = [*pip, "-c", "constraints.txt"]
    if index := os.environ.get("TORCH_INDEX"):
        subprocess.run([*pinned, "--no-deps", "--index-url", index, "torch"], check=True, cwd=ROOT)
    subprocess.run([*pinned, "-r", PINS[0], "-e", "."], check=True, cwd=ROOT)
    subprocess.run([*pip, "--no-deps", "--target", ENVIRONMENT / "attnread", *ATTNREAD_PINS], check=True)
    mark.write_text(state)


def versions() -> str:
    """Return the versions in the peers' environment."""
    names = ["torch", "transformers", "transformer-lens", "nnsight"]
    code = (
        f"from importlib.metadata import version; print(', '.join(f'{{n}} {{version(n)}}' for n in {names}))"
    )
    found = subprocess.run([PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    return f"{found}, {ATTNREAD_PINS[0]} with {ATTNREAD_PINS[1]}".replace("==", " ")


@dataclass(frozen=True)
class Row:
    """One model and number of tokens: a row of both tables."""

    name: str
    tokens: int
    options: argparse.Namespace
    folder: Path

    @property
    def label(self) -> str:
        """The row's name."""
        return f"{self.name}, {self.options.samples} × {self.tokens}"

    def measured(self, what: str, tool: str) -> Found:
        """Return one measurement, made in a process of its own in the peers' environment."""
        asked = {
            "what": what,
            "tool": tool,
            "case": [self.name, self.tokens, self.options.samples, self.options.layers],
            "repeats": self.options.repeats,
            "threads": self.options.threads,
            "reference": str(self.folder / f"{self.name.replace('/', '-')}-{self.tokens}.pt"),
        }
        command = [PYTHON, ROOT / "benchmarks" / "peer_tools.py", json.dumps(asked)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(self.options.threads)}
        if what == "memory":
            environment["MALLOC_MMAP_THRESHOLD_"] = "131072"  # freed blocks go back at once: the peak repeats
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {"error": f"exit code {done.returncode}: {last}"}
        return json.loads(done.stdout.splitlines()[-1])

    def wrong(self, tool: str, found: Found) -> list[str]:
        """Return what must not happen: an error of clsight's, or weights that differ from clsight's."""
        if "error" in found:
            return [f"{self.label}: clsight: {found['error']}"] if tool == "clsight" else []
        off = found.get("difference", 0.0)
        return [] if off <= TOLERANCE else [f"{self.label}: {tool}: weights off by {off:.1e}"]


def print_times(rows: list[Row], tools: list[str]) -> list[str]:
    """Print the table of times; return what is wrong."""
    print_cells("time", "plain", *(f"{tool} ÷ plain" for tool in tools), "largest difference")
    print_cells(*["---"] * (len(tools) + 3))
    wrong = []
    for row in rows:
        found = {tool: row.measured("time", tool) for tool in tools}
        wrong += [line for tool in tools for line in row.wrong(tool, found[tool])]
        ran = [cell for cell in found.values() if "error" not in cell]
        plain = statistics.median([cell["plain"] for cell in ran] or [math.nan])
        apart = max((cell["difference"] for cell in ran), default=math.nan)
        print_cells(row.label, f"{plain:.2f} s", *map(time_cell, found.values()), f"{apart:.1e}")
    return wrong


def print_memory(rows: list[Row], tools: list[str]) -> list[str]:
    """Print the table of extra peak memory; return what is wrong."""
    print_cells("extra peak memory", "plain", *tools)
    print_cells(*["---"] * (len(tools) + 2))
    wrong = []
    for row in rows:
        plain = row.measured("memory", "plain").get("mebibytes", math.nan)
        found = {tool: row.measured("memory", tool) for tool in tools}
        wrong += [line for tool in tools for line in row.wrong(tool, found[tool])]
        print_cells(row.label, f"{plain:.0f} MiB", *(memory_cell(cell, plain) for cell in found.values()))
    return wrong


def time_cell(found: Found) -> str:
    """Return a tool's time over plain, or its error."""
    if "error" in found:
        return found["error"]
    return f"{found['ratio']:.2f}" + (" (first round)" if found["first"] else "")


def memory_cell(found: Found, plain: float) -> str:
    """Return a tool's memory and its ratio to plain, or its error."""
    return found.get("error") or f"{found['mebibytes']:.0f} MiB ({found['mebibytes'] / plain:.2f}×)"


def print_cells(*cells: str) -> None:
    """Print one row of a Markdown table."""
    print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
