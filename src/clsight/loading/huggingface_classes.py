"""Which class of transformers is a folder's model, and with which part of its configuration?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from clsight.errors import CheckpointError
from clsight.loading.huggingface_weights import quiet, told
from clsight.loading.refusals import quoted

_CLASSIFIERS: Final = (
    "ForSequenceClassification",
    "ForImageClassification",
    "ForImageClassificationWithTeacher",
)
_PARTS: Final = ("VisionModel", "TextModel", "EncoderModel")
_SEES_ALL: Final = frozenset({"xlnet"})  # written for text from left to right, but its tokens see each other
_TIMM: Final = frozenset({"timm_wrapper", "timm_backbone"})
_STEP: Final = "Choose another with architecture='transformers:CLASS', or pass the module as factory="


@dataclass(frozen=True)
class Choice:
    """A class of transformers with the configuration that it is built from.

    Attributes:
        model_class: A `PreTrainedModel`.
        config: A `PreTrainedConfig`.
        why: A sentence, where the class is not the one that the file names.
    """

    model_class: Any
    config: Any
    why: str = ""

    def is_mine(self, name: str, whole: str) -> bool:
        """Tell whether a tensor left over is this model's own, or of another tower of the `whole` kind."""
        kind: str = self.config.model_type
        return kind == whole or name.startswith(f"{kind.removeprefix(whole).removeprefix('_')}.")


def choose(settings: dict[str, Any], file: Path, stated: str = "") -> Choice:
    """Return the class for the settings of a checked `config.json`.

    The class that the file names counts if it classifies or is one encoder; for other heads, whose logits are
    no classes, the encoder below them. Of two towers it is the one that looks at pictures.

    Args:
        settings: From `read_config`.
        file: The `config.json`, for messages.
        stated: Name of a class that the user wants.

    Raises:
        CheckpointError: If transformers does not know the kind of model, its configuration cannot be built,
            or it has no encoder.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING or kind in _TIMM:
        got = "none" if kind is None else quoted(kind)
        _fail("model_type", "a kind of model that transformers has", got, _step(kind), file)
    config = _config(CONFIG_MAPPING[kind], settings, file)
    named = _named(settings)
    if stated:
        return _stated(stated, config, file)
    if _is_decoder(kind, named):
        step = "Choose a model whose tokens see each other, such as BERT"
        _fail(kind, "an encoder", "a decoder, whose tokens see only those before them", step, file)
    if named and named.endswith((*_CLASSIFIERS, *_PARTS)) and (found := _class(named)) is not None:
        fitting = _config_for(found, config)
        if fitting is not None:
            return Choice(found, fitting)
    return _tower(config, file) if _has_towers(config) else _encoder(config, file, named)


def _step(kind: Any) -> str:
    """Return what to do about a kind of model that is not there."""
    from difflib import get_close_matches

    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not isinstance(kind, str):
        return "Correct config.json"
    if kind in _TIMM:
        return "Load it with architecture='timm:NAME'"
    near = get_close_matches(kind[:40], list(CONFIG_MAPPING.keys()), n=3)
    meant = f"Did you mean {' or '.join(f'`{name}`' for name in near)}? If not, a" if near else "A"
    return (
        f"{meant} newer transformers than {transformers.__version__} may have it: "
        "pip install --upgrade transformers"
    )


def _config(config_class: Any, settings: dict[str, Any], file: Path) -> Any:
    """Return transformers' own object of the settings; what it cannot take is told."""
    kept = {key: value for key, value in settings.items() if key != "architectures"}
    try:
        with quiet():
            return config_class.from_dict(kept)
    except Exception as error:  # transformers' code on a file's values: anything may go wrong
        raise CheckpointError(
            str(file),
            expected=f"values that {config_class.__name__} takes",
            got=told(error),
            next_step="Correct config.json",
        ) from error


def _named(settings: dict[str, Any]) -> str:
    """Return the first class that the file names, without a projection, whose output is no logits."""
    names = settings.get("architectures")
    first = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    return first.removesuffix("WithProjection")


def _class(name: str) -> Any:
    """Return a model class of transformers, or None."""
    import transformers

    found = getattr(transformers, name, None) if name.isidentifier() else None
    return found if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel) else None


def _config_for(model_class: Any, config: Any) -> Any:
    """Return the configuration, or the part of it, that belongs to a class; None without."""
    wanted = getattr(model_class.config_class, "model_type", "")
    parts = [config, *(getattr(config, name, None) for name in config.sub_configs)]
    return next((part for part in parts if part is not None and part.model_type == wanted), None)


def _stated(name: str, config: Any, file: Path) -> Choice:
    found = _class(name)
    fitting = None if found is None else _config_for(found, config)
    if found is None or fitting is None:
        got = "no such class" if found is None else f"one for {found.config_class.model_type}"
        _fail(name, f"a class of transformers for {config.model_type}", got, "Correct architecture=", file)
    return Choice(found, fitting, "As stated with architecture=")


def _is_decoder(kind: str, named: str) -> bool:
    """Tell whether this kind of model is made to write text from left to right, and for nothing else."""
    from transformers.models.auto import modeling_auto as auto

    causal, masked = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return named.endswith("ForCausalLM") or (kind in causal and kind not in {*masked, *_SEES_ALL})


def _has_towers(config: Any) -> bool:
    return {"text_config", "vision_config"} <= set(config.sub_configs)


def _tower(config: Any, file: Path) -> Choice:
    """Return the vision tower of a model of two."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    whole = MODEL_MAPPING_NAMES.get(config.model_type)
    stem = whole.removesuffix("Model") if isinstance(whole, str) else ""
    found = _class(f"{stem}VisionModel") if stem else None
    fitting = None if found is None else _config_for(found, config)
    if fitting is not None:
        why = f"The vision tower of {whole}. For the text tower state architecture='transformers:"
        return Choice(found, fitting, f"{why}{stem}TextModel'")
    _fail(config.model_type, "an encoder of text or of pictures", "a model of both", _STEP, file)


def _encoder(config: Any, file: Path, named: str) -> Choice:
    """Return the encoder below whatever head the file names."""
    from transformers import MODEL_MAPPING

    try:
        found: Any = MODEL_MAPPING[type(config)]
    except KeyError as error:
        raise CheckpointError(
            config.model_type,
            expected="an encoder",
            got="a kind of model without one in transformers",
            where=f"In {file}",
            next_step=_STEP,
        ) from error
    found = found[0] if isinstance(found, list | tuple) else found
    if not named or named == found.__name__:
        return Choice(found, config)
    return Choice(found, config, f"The encoder below {named[:80]}, whose logits are no classes")


def _fail(subject: str, expected: str, got: str, next_step: str, file: Path) -> NoReturn:
    raise CheckpointError(subject, expected=expected, got=got, where=f"In {file}", next_step=next_step)
