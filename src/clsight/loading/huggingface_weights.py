"""From a class of transformers, a checked configuration and checked tensors to a model."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import torch
from torch import Tensor, nn

from clsight.errors import CheckpointError
from clsight.loading.building_bounds import TooLargeError, within_bounds
from clsight.loading.tensor_files import TensorFile, inside, read_shards, read_tensors

_WHOLE: Final = ("model.safetensors", "pytorch_model.bin")
_SHARDED: Final = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_OF_OTHERS: Final = {
    "tf_model.h5": "weights of TensorFlow",
    "flax_model.msgpack": "weights of Flax",
    "model.onnx": "an ONNX graph",
}
_QUIET = threading.Lock()


@dataclass(frozen=True)
class Fitted:
    """A model with its weights.

    Attributes:
        module: In eval mode, on the CPU.
        missing: Names in the model that the file lacks.
        unexpected: Names in the file that the model lacks.
        attention: The attention of transformers that it runs: `sdpa`, or `eager` where it has no other.
    """

    module: nn.Module
    missing: list[str]
    unexpected: list[str]
    attention: str


def read_weights(folder: Path) -> TensorFile:
    """Return the tensors in a folder, safetensors before torch files, one file before several.

    Raises:
        CheckpointError: If there is none, or a file is refused.
    """
    for whole, index in zip(_WHOLE, _SHARDED, strict=True):
        if (folder / whole).exists():
            return read_tensors(inside(folder, whole))
        if (folder / index).exists():
            inside(folder, index)
            return read_shards(folder / index)
    other = next((text for name, text in _OF_OTHERS.items() if (folder / name).exists()), "none of them")
    _fail(
        str(folder),
        "model.safetensors or pytorch_model.bin",
        other,
        "Copy the folder anew, or save the model with save_pretrained",
    )


def fitted(model_class: Any, config: Any, file: TensorFile, path: Path, **options: Any) -> Fitted:
    """Return the model with the file's tensors in it, as `from_pretrained` would put them there.

    Renamed and tied weights are transformers' own business. The dtype is that of the tensors, float32 if they
    have several.

    Args:
        model_class: A `PreTrainedModel`.
        config: Its configuration.
        file: The tensors.
        path: Where they are from, for messages.
        options: Further arguments of the model's constructor.

    Raises:
        CheckpointError: If the model cannot be built, is much larger than the file, more than half of its
            tensors are missing, a shape differs, or a tensor holds NaN or infinity.
    """
    tensors = _floating_alike(file.tensors, path)
    attention = "sdpa" if model_class._supports_sdpa else "eager"
    config._attn_implementation = attention
    wanted = _names_in(model_class, config, tensors, path, options)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            module, found = model_class.from_pretrained(
                None,
                config=config,
                state_dict=dict(tensors),
                dtype=next((one.dtype for one in tensors.values() if one.is_floating_point()), torch.float32),
                attn_implementation=attention,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # noqa: BLE001 - transformers' code on a file's values: anything may go wrong
        _fail(str(path), f"weights that fit {model_class.__name__}", told(error), "Check the folder", error)
    _check_found(found, wanted, model_class.__name__, tensors, path)
    order = list(tensors)
    return Fitted(
        module.eval(),
        sorted(found["missing_keys"], key=lambda name: wanted.index(name) if name in wanted else 0),
        sorted(found["unexpected_keys"], key=lambda name: order.index(name) if name in tensors else 0),
        attention,
    )


def told(error: BaseException) -> str:
    """Return an error of another library as the "got" of a message: its kind and the start of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal inside the block: its warnings, reports and bars."""
    from transformers.utils import logging as messages

    thread = threading.get_ident()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    handlers = logging.getLogger("transformers").handlers
    with _QUIET:
        had_bars = messages.is_progress_bar_enabled()
        messages.disable_progress_bar()  # type: ignore[no-untyped-call]
        for handler in handlers:
            handler.addFilter(from_elsewhere)
        try:
            yield
        finally:
            for handler in handlers:
                handler.removeFilter(from_elsewhere)
            if had_bars:
                messages.enable_progress_bar()  # type: ignore[no-untyped-call]


def _floating_alike(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return finite tensors, the floating ones in one dtype."""
    for name, tensor in tensors.items():
        numbers = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
        if bad := int((~torch.isfinite(numbers)).sum()):
            got = f"{bad} of {tensor.numel()} that are NaN or infinite"
            step = "Train again, or restore an earlier checkpoint"
            raise CheckpointError(
                f"tensor {name}", expected="finite numbers", got=got, where=f"In {path}", next_step=step
            )
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) <= 1 and all(dtype.itemsize > 1 for dtype in dtypes):
        return tensors
    return {name: one.float() if one.is_floating_point() else one for name, one in tensors.items()}


def _names_in(
    model_class: Any, config: Any, tensors: dict[str, Tensor], path: Path, options: dict[str, Any]
) -> list[str]:
    """Return the names of the model's tensors, from a sketch of it that takes no memory."""
    given = sum(tensor.numel() for tensor in tensors.values())
    try:
        with quiet(), within_bounds(tensors=len(tensors), numbers=given):
            return list(model_class(config, **options).state_dict())
    except TooLargeError as error:
        expected = f"a {model_class.__name__} of the {given:,} numbers in the file"
        _fail(str(path), expected, str(error), "Check that config.json belongs to these weights", error)
    except Exception as error:  # noqa: BLE001 - transformers' code on a file's values
        expected = f"a configuration that {model_class.__name__} can be built from"
        _fail(str(path), expected, told(error), "Correct config.json", error)


def _check_found(
    found: dict[str, Any], wanted: list[str], kind: str, tensors: dict[str, Tensor], path: Path
) -> None:
    step = "Check that the weights belong to this config.json"
    for name, got, expected in sorted(found["mismatched_keys"]):
        _fail(f"tensor {name}", f"{list(expected)}", f"{list(got)}", f"{step}: {path}")
    if found["error_msgs"]:
        _fail(str(path), f"weights that fit {kind}", " ".join(found["error_msgs"])[:200], step)
    lacking = found["missing_keys"]
    if 2 * len(lacking) > len(wanted):
        has = ", ".join(f"`{name}`" for name in list(tensors)[:3])
        got = f"{len(wanted) - len(lacking)} of them; the file has {has}"
        _fail(str(path), f"the {len(wanted)} tensors of {kind}, such as `{min(lacking)}`", got, step)


def _fail(
    subject: str, expected: str, got: str, next_step: str, error: BaseException | None = None
) -> NoReturn:
    raise CheckpointError(subject, expected=expected, got=got, next_step=next_step) from error
