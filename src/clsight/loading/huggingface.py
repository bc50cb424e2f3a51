"""Folders as transformers writes them: any encoder of text or pictures, with what makes its inputs."""

from pathlib import Path
from typing import Any, Final

import torch

from clsight.errors import CheckpointError
from clsight.loading.fitting import by_layer
from clsight.loading.folders_of_models import ADAPTER_FILE, adapter_error
from clsight.loading.huggingface_classes import Choice, choose
from clsight.loading.huggingface_config import CONFIG_FILE, read_config
from clsight.loading.huggingface_pictures import picture_side
from clsight.loading.huggingface_text import Side, text_side
from clsight.loading.huggingface_weights import fitted, read_weights
from clsight.loading.optional_libraries import hidden_if_broken, needing
from clsight.loading.options import Options
from clsight.loading.subject import Subject
from clsight.loading.tensor_files import read_json

HUGGINGFACE_OPTIONS: Final = frozenset({"architecture", "cls_index"})
_STATED: Final = "transformers:"


def is_huggingface_folder(path: Path, options: Options) -> bool:
    """Tell whether a folder has a `config.json` as transformers writes it, or an adapter of PEFT."""
    if options.architecture and not options.architecture.startswith(_STATED):
        return False
    if options.architecture or (path / ADAPTER_FILE).is_file():
        return True
    if not (path / CONFIG_FILE).is_file():
        return False
    try:
        config = read_json(path / CONFIG_FILE)
    except CheckpointError:
        return False
    return bool({"model_type", "architectures", "auto_map", "transformers_version"} & config.keys())


def read_huggingface_folder(path: Path, options: Options) -> Subject:
    """Return the subject in a transformers folder; nothing is fetched, and no code of the folder runs.

    Raises:
        CheckpointError: If the folder is broken, names code, or holds no encoder of text or pictures.
    """
    return huggingface_subject(path, options, name=path.resolve().name, form="a transformers folder")


def huggingface_subject(
    folder: Path,
    options: Options,
    *,
    name: str,
    form: str,
    longest: int | None = None,
    lowercase: bool = False,
) -> Subject:
    """Return the subject in a folder with a `config.json` of transformers.

    Args:
        folder: The folder.
        options: What the user states.
        name: What to call the subject.
        form: What to call the format.
        longest: Most tokens of a sentence, if fewer than the model can take.
        lowercase: Whether sentences are lowercased first.
    """
    if (folder / ADAPTER_FILE).exists():
        raise adapter_error(folder)
    choice, kind = _chosen(folder, options)
    file = read_weights(folder)
    found = fitted(choice.model_class, choice.config, file, folder, **_without_pooler(choice, file.tensors))
    side = _side(found.module, folder, kind=kind, longest=longest, lowercase=lowercase)
    provenance = {
        "path": str(folder),
        "format": f"{form}, {file.kind}",
        "sha256": file.sha256,
        **_versions(),
        "class": type(found.module).__name__,
        "attention": found.attention,
        "missing": by_layer(found.missing),
        "unexpected": by_layer(name for name in found.unexpected if choice.is_mine(name, kind)),
        **({"chosen": choice.why} if choice.why else {}),
        **side.provenance,
    }
    return Subject(
        module=found.module,
        name=name,
        cls_index=side.cls_index if options.cls_index is None else options.cls_index,
        strategy="",
        seed=None,
        classes=_classes(choice),
        examples=side.examples,
        provenance=provenance,
        preparation=side.preparation,
        takes=side.takes,
        token_kinds=tuple(dict.fromkeys(side.preparation(side.examples[:1]).token_kind[0].tolist())),
        cls_vector=side.cls_vector,
        reading=side.reading,
        classifies=_is_classifier(choice),
    )


def _chosen(folder: Path, options: Options) -> tuple[Choice, str]:
    """Return the class of a folder's model, and its kind; here transformers is imported."""
    with needing("transformers", extra="huggingface"), hidden_if_broken("torchvision"):
        import transformers  # noqa: F401

        settings = read_config(folder)
        stated = (options.architecture or "").removeprefix(_STATED)
        return choose(settings, folder / CONFIG_FILE, stated), str(settings.get("model_type"))


def _versions() -> dict[str, str]:
    import transformers

    return {"torch": torch.__version__, "transformers": transformers.__version__}


def _side(module: Any, folder: Path, *, kind: str, longest: int | None, lowercase: bool) -> Side:
    if module.main_input_name == "input_ids":
        return text_side(module, folder, longest=longest, lowercase=lowercase, kind=kind)
    if module.main_input_name == "pixel_values":
        return picture_side(module, folder)
    raise CheckpointError(
        str(folder),
        expected="a model of text or of pictures",
        got=f"{type(module).__name__}, which takes `{module.main_input_name}`",
        next_step="Capture it in Python: clsight.capture(module, inputs)",
    )


def _without_pooler(choice: Choice, tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the options that leave out a pooler whose weights are not there, which would be random."""
    import inspect

    takes = inspect.signature(choice.model_class.__init__).parameters
    has = any("pooler." in name for name in tensors)
    return {} if has or "add_pooling_layer" not in takes else {"add_pooling_layer": False}


def _is_classifier(choice: Choice) -> bool:
    return "Classification" in choice.model_class.__name__


def _classes(choice: Choice) -> tuple[str, ...]:
    """Return a name per class of a classifier."""
    if not _is_classifier(choice):
        return ()
    names = choice.config.id2label or {}
    return tuple(str(names[number]) for number in sorted(names))
