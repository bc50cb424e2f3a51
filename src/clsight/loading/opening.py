"""Which format is this model in, and who reads it? `clsight.load`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from clsight import __version__
from clsight.checkpoints import as_path
from clsight.errors import CheckpointError, did_you_mean
from clsight.loading.folders_of_models import refuse_what_is_no_model
from clsight.loading.huggingface import (
    HUGGINGFACE_OPTIONS,
    is_huggingface_folder,
    read_huggingface_folder,
)
from clsight.loading.open_clip_models import (
    is_open_clip,
    is_open_clip_folder,
    read_open_clip,
    read_open_clip_folder,
)
from clsight.loading.options import Activation, Norm, Options
from clsight.loading.own_folder import read_own_folder
from clsight.loading.sentence_transformers_folder import (
    SENTENCE_TRANSFORMERS_OPTIONS,
    is_sentence_transformers_folder,
    read_sentence_transformers_folder,
)
from clsight.loading.state_dict import STATE_DICT_OPTIONS, is_state_dict, read_state_dict
from clsight.loading.subject import Subject
from clsight.loading.timm_models import is_timm, is_timm_folder, read_timm, read_timm_folder
from clsight.loading.torchvision_models import is_torchvision, read_torchvision
from clsight.loading.user_class import is_user_class, read_user_class


@dataclass(frozen=True)
class Format:
    """One way in which models are stored.

    Attributes:
        name: As a message names it, such as "a transformers folder".
        recognizes: Tells from the names and the first bytes of files whether a path is in this format.
        read: Makes the subject.
        options: The options that this format takes.
    """

    name: str
    recognizes: Callable[[Path, Options], bool]
    read: Callable[[Path, Options], Subject]
    options: frozenset[str] = frozenset()


_OF_A_CLASS = frozenset({"factory", "cls_index", "within"})
FORMATS: tuple[Format, ...] = (
    Format("weights of your own class", is_user_class, read_user_class, _OF_A_CLASS),
    Format(
        "weights of torchvision", is_torchvision, read_torchvision, frozenset({"architecture", "cls_index"})
    ),
    Format("weights of timm", is_timm, read_timm, frozenset({"architecture", "cls_index"})),
    Format("weights of open_clip", is_open_clip, read_open_clip, frozenset({"architecture", "cls_index"})),
    Format("an open_clip folder", is_open_clip_folder, read_open_clip_folder, frozenset({"cls_index"})),
    Format("a timm folder", is_timm_folder, read_timm_folder, frozenset({"cls_index"})),
    Format(
        "a sentence-transformers folder",
        is_sentence_transformers_folder,
        read_sentence_transformers_folder,
        SENTENCE_TRANSFORMERS_OPTIONS,
    ),
    Format("a transformers folder", is_huggingface_folder, read_huggingface_folder, HUGGINGFACE_OPTIONS),
    Format("a bare state dict", is_state_dict, read_state_dict, STATE_DICT_OPTIONS),
    Format("a clsight folder", lambda path, options: True, lambda path, options: read_own_folder(path)),
)
"""Asked in order; the first that recognizes a path reads it."""

_OF_ALL = frozenset({"classifies"})
"""Options that every format takes."""


def load(
    path: str | Path,
    *,
    architecture: str | None = None,
    heads: int | None = None,
    norm: Norm | None = None,
    activation: Activation | None = None,
    cls_index: int | None = None,
    within: str | None = None,
    classifies: bool | None = None,
    factory: Callable[[], nn.Module] | nn.Module | None = None,
) -> Subject:
    """Load a model from a file or folder on this machine; no code from the files runs.

    Args:
        path: A folder or a file of weights; docs/loading.md lists what is known.
        architecture: `library:name` of the model that the weights belong to.
        heads: Attention heads per layer of a bare state dict, where the file does not say.
        norm: `pre` or `post`, likewise.
        activation: `relu` or `gelu`, likewise.
        cls_index: Position of [CLS] in the sequence that the encoder sees; by default what the format says.
        within: Name of the submodule whose attention is meant, where your own class runs several encoders.
        classifies: Whether the model returns a score for each class; by default told by format and shape.
        factory: What makes the module that the weights belong to, or a module like it, which is copied.

    Returns:
        The model in eval mode on the CPU, with its examples and its provenance.

    Raises:
        CheckpointError: If there is no such path, it is in no known format, a file in it is broken, or an
            option does not go with the format.

    Example:
        >>> from clsight import sample_models_dir
        >>> subject = load(sample_models_dir() / "digits-learned")
        >>> subject.strategy, subject.cls_index, len(subject.examples)
        ('learned', 0, 20)
    """
    options = Options(
        architecture=architecture,
        heads=heads,
        norm=norm,
        activation=activation,
        cls_index=cls_index,
        within=within,
        classifies=classifies,
        factory=factory,
    )
    where = as_path(path)
    refuse_what_is_no_model(where)
    chosen = next(form for form in FORMATS if form.recognizes(where, options))
    _check_options(where, chosen, options)
    subject = chosen.read(where, options)
    subject.provenance["clsight"] = __version__
    if classifies is not None:
        subject.classifies = classifies
    return subject


def _check_options(path: Path, chosen: Format, options: Options) -> None:
    """Refuse what is stated in vain, rather than ignore it; of a path that is no model the reader tells."""
    if not (path.is_file() or (path / "config.json").is_file()):
        return
    for name, value in options.stated().items():
        if name in chosen.options or name in _OF_ALL:
            continue
        if name == "architecture" and path.is_file() and options.factory is None:
            expected, step = (
                "`library:name`, of timm, torchvision or open_clip",
                "Correct it, or leave it out",
            )
        else:
            expected = f"no such option for {chosen.name}"
            step = did_you_mean(name, chosen.options) if chosen.options else "Leave it out"
        got, where = f"{name}={value!r}", f"Loading {path}"
        raise CheckpointError(name, expected=expected, got=got, where=where, next_step=step)
