"""Can these settings be run at all? What is refused before the first run, rather than in each."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final

from clsight.cls_strategy import make
from clsight.errors import ClsightError, StudyError, did_you_mean
from clsight.model_config import ModelConfig
from clsight.study.run_settings import RunSettings
from clsight.study.toml_tables import is_number, is_text, is_whole

SETTINGS: Final = tuple(item.name for item in fields(RunSettings))
"""The names of all settings of a run."""

_OF_THE_MODEL: Final = (
    *("strategy", "strategy_options", "norm", "bias", "position", "layers", "heads", "width"),
    *("feedforward", "seed"),
)
_OF_THE_TRAINING: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "task": ("the name of a task", is_text),
    "task_options": ("a table", lambda value: isinstance(value, Mapping)),
    "learning_rate": ("a number above 0", lambda value: is_number(value) and value > 0),
    "weight_decay": ("a number of 0 or more", lambda value: is_number(value) and value >= 0),
    "epochs": ("a whole number of 1 or more", lambda value: is_whole(value) and value >= 1),
    "batch": ("a whole number of 1 or more", lambda value: is_whole(value) and value >= 1),
    "warmup": (
        "a share of the steps, at least 0 and below 1",
        lambda value: is_number(value) and 0 <= value < 1,
    ),
}


def check_setting_names(names: Mapping[str, Any], place: str) -> None:
    """Raise StudyError about a name that no setting has, or that a study file may not set there."""
    for name in names:
        if name == "seed":
            raise StudyError(
                "seed",
                expected="seeds for the whole study or a block",
                got="one in the settings",
                where=f"In {place}",
                next_step="Set `seeds` in [study] or in the block",
            )
        if name not in SETTINGS:
            options = [setting for setting in SETTINGS if setting != "seed"]
            raise StudyError(
                name, expected=f"a setting in {place}", got="none", next_step=did_you_mean(name, options)
            )


def check_settings(settings: RunSettings, place: str) -> None:
    """Raise StudyError unless a model can be built and trained with these settings.

    Args:
        settings: Of one run.
        place: Where they stand, such as `[[block]] pooling`.
    """
    for name, (expected, fits) in _OF_THE_TRAINING.items():
        value = getattr(settings, name)
        if not fits(value):
            step = f"Set `{name}` there"
            raise StudyError(name, expected=expected, got=repr(value), where=f"In {place}", next_step=step)
    try:
        ModelConfig(classes=2, **{name: getattr(settings, name) for name in _OF_THE_MODEL})
        make(settings.strategy, settings.width, seed=settings.seed, **settings.strategy_options)
    except ClsightError as error:
        raise StudyError(
            error.subject,
            expected=error.expected,
            got=error.got,
            where=f"In {place}",
            next_step=error.next_step,
        ) from error
