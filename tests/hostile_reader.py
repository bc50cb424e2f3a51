"""Reads files in a process of its own, each within bounds of memory, and tells what came of it.

`python hostile_reader.py FOLDER REPORT` writes a JSON line per file: outcome, message, peak, seconds and
tensors.
"""

import gc
import hashlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clsight.errors import CheckpointError
from clsight.loading.tensor_files import read_tensors

ALLOWANCE = 512 * 2**20
"""Bytes that reading a file may take beyond its size."""


def digest(tensor: Tensor) -> str:
    """Return a text that differs where kind, shape or any bit of a tensor differs."""
    numbers = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype} {list(tensor.shape)} {hashlib.sha256(numbers).hexdigest()}"


def address_space() -> int:
    """Return the bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def read_within_bounds(path: Path) -> dict[str, Any]:
    """Return what comes of a file; memory beyond the allowance is refused to this process by the system."""
    gc.collect()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + path.stat().st_size + ALLOWANCE, hard))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, started = resident("VmHWM"), time.perf_counter()
    found: dict[str, Any] = {"outcome": "loads"}
    try:
        held = read_tensors(path)
    except CheckpointError as error:
        held, found = None, {"outcome": "refused", "message": str(error)}
    except BaseException as error:  # noqa: BLE001  whatever else comes is what the test looks for
        held, found = None, {"outcome": f"{type(error).__name__}: {error}"[:300]}
    found["seconds"] = time.perf_counter() - started
    found["peak"] = resident("VmHWM") - before - path.stat().st_size
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    if held is not None:
        found["tensors"] = {name: digest(tensor) for name, tensor in held.tensors.items()}
    return found


def resident(field: str) -> int:
    """Return a field of this process's status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    gc.freeze()  # what the imports made is not looked through again for each file
    with open(sys.argv[2], "w", encoding="utf-8") as report:
        for file in sorted(Path(sys.argv[1]).iterdir()):
            report.write(json.dumps({"file": file.name} | read_within_bounds(file)) + "\n")
            report.flush()
