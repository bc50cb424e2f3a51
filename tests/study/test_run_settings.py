"""Settings of a run: what JSON gives back, and what is unknown."""

import json

import pytest

from clsight import StudyError
from clsight.study import RunSettings


def test_settings_come_back_from_json() -> None:
    settings = RunSettings(task="retrieval", strategy="fixed_random", strategy_options={"std": 0.02}, seed=3)
    assert RunSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_an_unknown_setting_is_named_with_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"expected known names, but got 'layer'. Did you mean `layers`\?"):
        RunSettings.from_dict({"task": "digits", "layer": 2})
