"""All hostile, broken and honest files of weights, each with what must come of it; seeded, made in code."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.torch import save as save_safetensors
from torch import Tensor

from hostile_claims import bombs, honest_files, other_tensors, tensor_claims
from hostile_containers import lying_archives, lying_safetensors, other_files
from hostile_pickles import running_files
from torch_archives import archive, claim, pickled, saved, weights

Fate = Literal["refused", "loads", "refused or equal", "refused or same numbers"]


@dataclass(frozen=True)
class Case:
    """A file, and what must come of reading it.

    Attributes:
        kind: What is wrong with it, in a word.
        name: Which of its kind.
        data: The file.
        fate: "refused or same numbers" for damage in names, which no checksum of the format covers.
        tensors: What was saved, where it may load.
    """

    kind: str
    name: str
    data: bytes
    fate: Fate = "refused"
    tensors: dict[str, Tensor] | None = None


def all_cases(marks: Path) -> Iterator[Case]:
    """Yield every case; the pickles that run code would leave marks in the folder."""
    kinds = {
        "runs code": running_files(marks),
        "tensor claims": tensor_claims(),
        "other values": other_tensors(),
        "pickle bombs": bombs(),
        "lying archives": lying_archives(),
        "lying safetensors": lying_safetensors(),
        "other files": other_files(),
    }
    for kind, files in kinds.items():
        for name, data in files.items():
            yield Case(kind, name, data)
    for name, (tensors, data) in honest_files().items():
        yield Case("honest", name, data, "loads", tensors)
    whole = {name: tensor.contiguous() for name, tensor in weights().items()}
    yield Case("honest", "safetensors", save_safetensors(whole), "loads", whole)
    yield from _damaged(whole)


def _damaged(tensors: dict[str, Tensor]) -> Iterator[Case]:
    generator = np.random.default_rng(20)
    files: dict[
        str, tuple[bytes, int, Fate]
    ] = {  # the file, the end of its index, the fate of a flipped index
        "torch": (saved(tensors), "refused or equal"),
        "by hand": (archive(pickled({"w": claim()})), "refused or equal"),
        "safetensors": (save_safetensors(tensors), "refused or same numbers"),
        "old": (saved(tensors, _use_new_zipfile_serialization=False), "refused or same numbers"),
    }
    for name, (data, fate) in files.items():
        held = honest_files()["made by hand"][0] if name == "by hand" else tensors
        for size in sorted(generator.choice(len(data), 25, replace=False)):
            yield Case(f"cut {name}", f"at {size}", data[:size], "refused")
        last = _end_of_index(name, data)
        for place in sorted(generator.choice(last, min(60, last), replace=False)):
            bit = int(generator.integers(8))
            yield Case(
                f"flipped {name}", f"bit {bit} of byte {place}", _flipped(data, int(place), bit), fate, held
            )


def _end_of_index(name: str, data: bytes) -> int:
    """Return where the numbers begin that no checksum covers; all of an archive is covered."""
    if name == "safetensors":
        return 8 + int.from_bytes(data[:8], "little")
    return data.rindex(b".") if name == "old" else len(data)


def _flipped(data: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)
