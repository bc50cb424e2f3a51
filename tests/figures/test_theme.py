import pytest

import clsight
from clsight.analysis import entropy
from clsight.figures import (
    CONFIG,
    compare_strategies,
    layer_curve,
    layer_head_grid,
    patch_overlay,
    token_strip,
)
from hand_made import patch_record, word_record

AT = {"sample": 0, "layer": 1, "head": 2}
FIGURES = {
    "grid": lambda dark: layer_head_grid(patch_record().record, dark=dark),
    "overlay": lambda dark: patch_overlay(patch_record().record, [[0.0] * 6] * 8, dark=dark, **AT),
    "strip": lambda dark: token_strip(word_record().record, dark=dark, **AT),
    "curve": lambda dark: layer_curve(entropy(word_record().record).sel(sample=0), dark=dark),
    "comparison": lambda dark: compare_strategies(
        clsight.stack({"learned": patch_record().record}), sample=0, layer=1, dark=dark
    ),
}


def test_config_has_no_upload_button():
    assert CONFIG["showSendToCloud"] is False
    assert CONFIG["displaylogo"] is False


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_has_a_light_and_a_dark_version(name):
    light, dark = (FIGURES[name](dark).layout for dark in (False, True))
    assert light.template.layout.paper_bgcolor == "#ffffff"
    assert dark.template.layout.paper_bgcolor == "#1a1b1e"
    assert light.template.layout.font.color != dark.template.layout.font.color
    assert light.title.text == dark.title.text != ""
    assert light.height >= 200
