"""Figures on a page: no upload, sizes that fit, legends taken out of the figure."""

import pytest

from clsight import analysis, figures, stack
from clsight_app.components.graph import CONFIG, color_legend, comparison_size, line_legend, map_size, on_page
from hand_made import patch_record, word_record


def test_config_offers_no_upload():
    assert CONFIG["showSendToCloud"] is False
    assert CONFIG["displayModeBar"] is False


def test_on_page_leaves_title_and_background_to_the_page():
    layout = on_page(figures.layer_head_grid(patch_record().record)).layout
    assert layout.title.text is None
    assert layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert layout.height is None


def test_map_grows_with_its_layers():
    few, many = (
        map_size(figures.layer_head_grid(patch_record(layers=layers).record))["aspectRatio"]
        for layers in (3, 6)
    )
    height_few, height_many = (int(ratio.split(" / ")[1]) for ratio in (few, many))
    assert height_many - 62 == pytest.approx(2 * (height_few - 62), abs=2)  # rounded to whole pixels


def test_comparison_is_no_higher_than_the_figure_asks_for():
    stacked = stack({name: patch_record(seed=seed).record for seed, name in enumerate(("learned", "zeros"))})
    figure = figures.compare_strategies(stacked, sample=0, layer=0)
    size = comparison_size(figure)
    assert size["maxHeight"] == f"{figure.layout.height}px"
    width, height = (int(side) for side in size["aspectRatio"].split(" / "))
    assert height - 124 == pytest.approx(2 * (width - 130) / 2 * figure.layout.yaxis.scaleratio, abs=1)


def test_words_keep_the_height_the_figure_asks_for():
    figure = figures.layer_head_grid(word_record().record)
    assert map_size(figure) == {"height": f"{figure.layout.height}px"}


def test_color_legend_takes_the_scale_out_of_the_figure():
    image = [[0.0, 0.5, 1.0], [0.2, 0.4, 0.6]]
    figure = figures.patch_overlay(patch_record().record, image, sample=0, layer=0, head=1, zmax=0.25)
    start, scale, end = color_legend(figure).children
    assert (start.children, end.children) == ("weight 0", "0.25")
    colors = figure.layout.coloraxis.colorscale
    assert scale.style["background"].startswith(f"linear-gradient(to right, {colors[0][1]} 0%, ")
    assert scale.style["background"].endswith(f" {colors[-1][1]} 100%)")
    assert figure.layout.coloraxis.showscale is False


def test_line_legend_names_each_line_beside_its_color():
    figure = figures.layer_curve(analysis.entropy(patch_record(samples=1).record).isel(sample=0, drop=True))
    entries = line_legend(figure).children
    assert [entry.children[1] for entry in entries] == [line.name for line in figure.data]
    assert entries[-1].children[0].style == {"background": figure.data[-1].line.color}
    assert figure.layout.showlegend is False
