"""What holds models rather than being one, or only adds to one: which path to name instead?"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clsight.errors import CheckpointError
from clsight.loading.plain_files import read_json
from clsight.loading.tensor_files import is_of_a_trainer

ADAPTER_FILE: Final = "adapter_config.json"
_ADAPTER_WEIGHTS: Final = "adapter_model"
_OF_A_MODEL: Final = (
    *("config.json", "modules.json", "open_clip_config.json"),
    *("model.safetensors", "pytorch_model.bin"),
    *("model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
_WEIGHTS: Final = (".ckpt", ".pt", ".pth", ".safetensors")
_SHOWN: Final = 3


def refuse_what_is_no_model(path: Path) -> None:
    """Refuse an adapter, and a folder such as a trainer writes, with checkpoints in it and no model beside.

    Raises:
        CheckpointError: With the way to merge the adapter, or with the last checkpoint to name; nothing is
            raised of what may be a model.
    """
    if path.is_file() and path.stem == _ADAPTER_WEIGHTS and (path.parent / ADAPTER_FILE).is_file():
        raise adapter_error(path.parent)
    if not path.is_dir():
        return
    if (path / ADAPTER_FILE).is_file() and not any((path / name).exists() for name in _OF_A_MODEL):
        raise adapter_error(path)
    if not _is_model(path) and (found := _models_in(path)):
        raise _several(path, found)


def _several(folder: Path, found: list[Path]) -> CheckpointError:
    """Return the error for a folder of one model or more, the last the newest."""
    names = [path.relative_to(folder).as_posix() for path in found]
    shown = ", ".join(names[-_SHOWN:]) if len(names) <= _SHOWN else f"the last {', '.join(names[-_SHOWN:])}"
    got = f"a folder with {len(names)} of them" if len(names) > 1 else "a folder with one in it"
    return CheckpointError(
        str(folder),
        expected="one model",
        got=f"{got}: {shown}",
        next_step=f"Name it: {found[-1]}" if len(names) == 1 else f"Name one of them, such as {found[-1]}",
    )


def adapter_error(folder: Path) -> CheckpointError:
    """Return the error for a folder of PEFT, whose weights mean nothing without those of their base.

    The base model that it names is looked for inside and beside it, so that the next step can be typed.
    """
    name = _base_name(folder)
    base = next((each for each in _places(folder, name) if (each / "config.json").is_file()), None)
    stands = f"found in {base}" if base else "not found inside or beside it"
    named = f" `{name}`" if name else ""
    return CheckpointError(
        str(folder),
        expected="a whole model",
        got=f"a PEFT adapter, whose base model{named} is {stands}",
        next_step="Merge them in Python, with `base` the model class loaded from "
        f"{f'{str(base)!r}' if base else 'the base model'}: "
        f"`PeftModel.from_pretrained(base, {str(folder)!r}).merge_and_unload().save_pretrained('merged')`; "
        "then load merged, with the base's tokenizer files in it",
    )


def _is_model(folder: Path) -> bool:
    return any((folder / name).exists() for name in (*_OF_A_MODEL, ADAPTER_FILE))


def _models_in(folder: Path) -> list[Path]:
    """Return folders of models below a folder, else files of weights in it; the newest by number last."""
    below = [each for each in _folders(folder) if _is_model(each)]
    below = below or [each for each in _folders(folder / "snapshots") if _is_model(each)]
    files = (each for each in _entries(folder) if each.suffix in _WEIGHTS and not is_of_a_trainer(each))
    return sorted(below or files, key=_by_number)


def _folders(folder: Path) -> list[Path]:
    return [each for each in _entries(folder) if each.is_dir()]


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:  # no such folder, or none that may be read: nothing to name
        return


def _by_number(path: Path) -> list[str | int]:
    """Return a key that puts checkpoint-500 before checkpoint-1000."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _base_name(folder: Path) -> str:
    """Return what an adapter calls its base: a path, or a name on a hub; "" if it does not say."""
    try:
        name = read_json(folder / ADAPTER_FILE).get("base_model_name_or_path")
    except CheckpointError:
        return ""
    return name if isinstance(name, str) and name.isprintable() and len(name) <= 200 else ""


def _places(folder: Path, name: str) -> list[Path]:
    """Return where the base of an adapter may lie, the likeliest first."""
    last = name.rstrip("/").rpartition("/")[2]
    whole = folder.resolve()
    named = [whole / last, whole.parent / last] if last not in ("", ".", "..") else []
    return [*named, whole, *sorted(_folders(whole))]
