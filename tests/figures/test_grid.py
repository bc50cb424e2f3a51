import json

import numpy as np
import pytest

import clsight
from clsight import RecordError
from clsight.errors import FigureError
from clsight.figures import cell_at, color_limit, layer_head_grid
from hand_made import patch_record, word_record


def tile_values(fig, view_layer, view_head, *, size):
    """Return one tile of the figure, found by its borders on the axes."""
    trace, (height, width) = fig.data[0], size
    row, column = view_layer * (height + 1), view_head * (width + 1)
    assert abs(np.mean(trace.x[column : column + width + 1]) - view_head) < 1e-9
    assert abs(np.mean(trace.y[row : row + height + 1]) - view_layer) < 1e-9
    return trace.z[row : row + height, column : column + width]


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_grid_shows_cls_above_its_patches(direction):
    record = patch_record().record
    fig = layer_head_grid(record, sample=1, direction=direction)
    assert len(fig.data) == 1
    assert fig.data[0].z.dtype == np.float32
    assert fig.data[0].z.shape == (3 * 4 - 1, 4 * 4 - 1)
    for layer, head in np.ndindex(3, 4):
        weights = record[direction].values[1, layer, head]
        tile = tile_values(fig, layer, head, size=(3, 3))
        np.testing.assert_array_equal(tile[0], [weights[0], np.nan, np.nan])
        np.testing.assert_array_equal(tile[1:], weights[1:].reshape(2, 3))


def test_grid_puts_nan_between_tiles():
    z = layer_head_grid(patch_record().record).data[0].z
    assert np.isnan(z[3::4]).all()
    assert np.isnan(z[:, 3::4]).all()
    assert np.isfinite(z[1]).sum() == 4 * 3


def test_grid_shows_words_in_one_row_without_padding():
    record = word_record().record
    fig = layer_head_grid(record, sample=0)
    np.testing.assert_array_equal(
        tile_values(fig, 2, 1, size=(1, 7))[0], record["attends_to"].values[0, 2, 1, :7]
    )
    assert fig.data[0].z.shape == (3 * 2 - 1, 4 * 8 - 1)


def test_grid_wraps_long_sequences_in_reading_order():
    words = ("[CLS]", *(f"w{i}" for i in range(49)))
    record = word_record(layers=1, heads=2, words=words).record
    tile = tile_values(layer_head_grid(record), 0, 1, size=(5, 10))
    shown = tile.ravel()[:48]
    np.testing.assert_array_equal(shown, record["attends_to"].values[0, 0, 1, :48])
    assert np.isnan(tile.ravel()[48:]).all()


def test_grid_labels_each_row_and_column():
    fig = layer_head_grid(patch_record().record.sel(layer=[2, 0], head=[1, 3]))
    assert fig.layout.xaxis.ticktext == ("1", "3")
    assert fig.layout.yaxis.ticktext == ("2", "0")
    assert fig.layout.yaxis.range[0] > fig.layout.yaxis.range[1]  # the first layer is on top


def test_grid_tells_layer_head_token_weight_and_lift_on_hover():
    record = word_record().record
    trace = layer_head_grid(record, sample=0).data[0]
    column = 1 * 8 + 3
    assert trace.text[4][column] == "encoder.layers.2, head 1<br>river &amp; sea"
    assert trace.customdata[4][column] == pytest.approx(record["attends_to"].values[0, 2, 1, 3] * 7)
    assert trace.text[4][1 * 8 + 2] == "encoder.layers.2, head 1<br>&lt;s&gt;"
    assert "%{z" in trace.hovertemplate


def test_grid_outlines_the_selected_cell():
    (shape,) = layer_head_grid(patch_record().record, selected=(2, 3)).layout.shapes
    assert (shape.x0 + shape.x1) / 2 == pytest.approx(3)
    assert (shape.y0 + shape.y1) / 2 == pytest.approx(2)


@pytest.mark.parametrize("select", [{}, {"layer": [1, 2]}, {"layer": [2, 0], "head": [3, 1]}])
def test_cell_at_finds_every_cell_of_the_grid(select):
    record = patch_record().record.sel(select)
    trace = layer_head_grid(record).data[0]
    x, y = (np.asarray(borders) for borders in (trace.x, trace.y))
    for row, column in np.argwhere(np.isfinite(trace.z)):
        point = (x[column] + x[column + 1]) / 2, (y[row] + y[row + 1]) / 2
        expected = record["layer"].values[row // 4].item(), record["head"].values[column // 4].item()
        assert cell_at(record, *point) == expected


@pytest.mark.parametrize("point", [(-0.6, 0), (4.2, 1), (0, 2.7), (1, -3)])
def test_cell_at_outside_the_tiles_is_none(point):
    assert cell_at(patch_record().record, *point) is None


def test_grid_starts_its_colors_at_zero_and_keeps_a_given_limit():
    trace = layer_head_grid(patch_record().record, zmax=0.3).data[0]
    assert (trace.zmin, trace.zmax) == (0, 0.3)


def test_color_limit_is_the_largest_weight_beside_cls():
    record = patch_record().record
    assert color_limit(record) == pytest.approx(record["attends_to"].values[..., 1:].max())
    assert layer_head_grid(record, sample=1).data[0].zmax == pytest.approx(
        record["attends_to"].values[1, ..., 1:].max()
    )


def test_color_bar_says_when_larger_weights_share_its_last_color():
    record = patch_record().record
    assert layer_head_grid(record, zmax=0.05).data[0].colorbar.ticktext[-1] == "≥ 0.05"
    assert layer_head_grid(record, zmax=1.0).data[0].colorbar.ticktext[-1] == "1"


def test_grid_of_a_stack_shows_the_chosen_strategy():
    members = {"learned": patch_record(seed=1).record, "zeros": patch_record(seed=2).record}
    stacked = layer_head_grid(clsight.stack(members), strategy="zeros").data[0].z
    np.testing.assert_array_equal(stacked, layer_head_grid(members["zeros"]).data[0].z)


def test_grid_of_one_selected_head_still_draws():
    fig = layer_head_grid(patch_record().record.sel(sample=1, layer=2, head=3))
    assert fig.data[0].z.shape == (3, 3)
    assert fig.layout.xaxis.ticktext == ("3",)


def test_grid_of_bert_size_stays_below_half_a_megabyte():
    one = word_record(samples=1, layers=1, heads=1, words=("[CLS]", *(["w"] * 13))).record
    large = one.isel(layer=[0] * 12, head=[0] * 12, token=np.arange(512) % 12)
    large = large.assign_coords(layer=np.arange(12), head=np.arange(12), token=np.arange(512))
    figure = layer_head_grid(large).to_json()
    assert len(figure) <= 500_000
    assert json.loads(figure)["data"][0]["z"]["dtype"] == "f4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample": 2}, "expected a `sample` of the record: 0, 1, but got 2"),
        ({"selected": (3, 0)}, "expected a `layer` of the record: 0 to 2, but got 3"),
        ({"selected": (0, -1)}, "expected a `head` of the record: 0 to 3, but got -1"),
        ({"direction": "attends"}, "Did you mean `attends_to`"),
        ({"zmax": 0.0}, "expected a positive `zmax`, but got 0.0"),
        ({"zmax": float("nan")}, "expected a positive `zmax`, but got nan"),
        ({"strategy": "zeros"}, "no `strategy`, as the record is not stacked"),
    ],
)
def test_grid_says_what_is_wrong(arguments, message):
    with pytest.raises(FigureError, match=message):
        layer_head_grid(patch_record().record, **arguments)


def test_grid_of_a_stack_names_the_strategies():
    stacked = clsight.stack({"learned": patch_record().record, "zeros": patch_record(seed=2).record})
    with pytest.raises(FigureError, match=r"a `strategy` of the record: learned, zeros, but got None"):
        layer_head_grid(stacked)
    with pytest.raises(FigureError, match=r"got 'zero'. Did you mean `zeros`"):
        layer_head_grid(stacked, strategy="zero")


def test_grid_of_several_seeds_asks_for_one():
    seeds = clsight.stack({1: patch_record().record, 2: patch_record(seed=2).record}, dim="seed")
    with pytest.raises(FigureError, match=r"one with several along `seed`. Select one first"):
        layer_head_grid(seeds)


def test_grid_says_which_weights_are_missing():
    with pytest.raises(RecordError, match="a record with `attended_by`"):
        layer_head_grid(patch_record().record.drop_vars("attended_by"), direction="attended_by")
