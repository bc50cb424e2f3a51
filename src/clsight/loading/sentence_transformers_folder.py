"""Folders of sentence-transformers: a transformers model, with how its tokens become one vector."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from clsight.errors import CheckpointError
from clsight.loading.huggingface import HUGGINGFACE_OPTIONS, huggingface_subject
from clsight.loading.options import Options
from clsight.loading.plain_files import parse_json, read_bytes
from clsight.loading.subject import Subject
from clsight.loading.tensor_files import inside, read_json

SENTENCE_TRANSFORMERS_OPTIONS: Final = HUGGINGFACE_OPTIONS
_MODULES_FILE: Final = "modules.json"
_SETTINGS_FILE: Final = "sentence_bert_config.json"
_KINDS: Final = ("Transformer", "Pooling", "Normalize")
_LARGEST: Final = 2**20
_AVERAGED: Final = (
    "The sentence vector is pooled over tokens ({}), not read off [CLS], which is there all the same"
)


@dataclass(frozen=True)
class _Module:
    """A line of `modules.json`: one of `_KINDS`, and its folder inside the folder."""

    kind: str
    folder: Path


def is_sentence_transformers_folder(path: Path, options: Options) -> bool:
    """Tell whether a folder has the list of modules that sentence-transformers writes."""
    return not options.architecture and (path / _MODULES_FILE).is_file()


def read_sentence_transformers_folder(path: Path, options: Options) -> Subject:
    """Return the subject of the transformers model in the folder; its pooling is told in the provenance.

    Raises:
        CheckpointError: If `modules.json` names anything but Transformer, Pooling and Normalize, or a folder
            outside, or the transformers model is refused.
    """
    modules = _modules(path)
    folder = modules[0].folder
    settings = read_json(inside(folder, _SETTINGS_FILE)) if (folder / _SETTINGS_FILE).exists() else {}
    longest = settings.get("max_seq_length")
    subject = huggingface_subject(
        folder,
        options,
        name=path.resolve().name,
        form="a sentence-transformers folder",
        longest=longest if type(longest) is int and 1 < longest < 2**22 else None,
        lowercase=settings.get("do_lower_case") is True,
    )
    subject.provenance["path"] = str(path)
    pooling = _pooling(modules)
    if pooling:
        subject.provenance["pooling"] = pooling
    if pooling and pooling != "cls" and "cls" not in subject.provenance:
        subject.provenance["cls"] = _AVERAGED.format(pooling)
    return subject


def _modules(path: Path) -> list[_Module]:
    file = inside(path, _MODULES_FILE)
    listed = parse_json(bytes(read_bytes(file, largest=_LARGEST)), file)
    if not isinstance(listed, list) or not 1 <= len(listed) <= 3:
        _fail(file, "a list of one to three modules", _kind(listed))
    found = [_module(entry, path, file) for entry in listed]
    if [one.kind for one in found] != list(_KINDS[: len(found)]):
        _fail(file, "Transformer, Pooling and Normalize, in this order", ", ".join(one.kind for one in found))
    return found


def _module(entry: Any, path: Path, file: Path) -> _Module:
    """Return what a line says; the class that it names is never imported."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("type", "path")):
        _fail(file, "`type` and `path` of each module", _kind(entry))
    origin, _, kind = entry["type"].rpartition(".")
    if kind not in _KINDS or not f"{origin}.".startswith("sentence_transformers."):
        _fail(file, f"modules of sentence-transformers: {', '.join(_KINDS)}", f"`{entry['type'][:80]}`")
    folder = path if entry["path"] == "" else inside(path, entry["path"])
    return _Module(kind, folder)


def _pooling(modules: list[_Module]) -> str:
    """Return how tokens become one vector, as in `mean` or `cls`; "" without a pooling module."""
    folder = next((one.folder for one in modules if one.kind == "Pooling"), None)
    if folder is None or not (folder / "config.json").exists():
        return ""
    settings = read_json(inside(folder, "config.json"), largest=_LARGEST)
    stated = settings.get("pooling_mode")
    if isinstance(stated, str):
        return stated[:80]
    if isinstance(stated, list | tuple):
        return ", ".join(str(one)[:40] for one in stated[:8])
    names = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    return ", ".join(
        name.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens") for name in names
    )


def _kind(value: Any) -> str:
    """Return what stands in the file in place of what should, without its contents, which may be anything."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        wanted = {key: type(value[key]).__name__ for key in ("type", "path") if key in value}
        return f"an entry with {', '.join(f'`{key}`: {kind}' for key, kind in wanted.items()) or 'neither'}"
    return "none" if value is None else f"a {type(value).__name__}"


def _fail(file: Path, expected: str, got: str) -> NoReturn:
    raise CheckpointError(
        str(file), expected=expected, got=got, next_step="Pass the folder of its transformers model instead"
    )
