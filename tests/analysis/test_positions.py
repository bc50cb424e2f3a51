"""Where [CLS] stands elsewhere in each sample, every measure says of a sample what it says of it alone."""

import numpy as np
import pytest
import torch
from torch import nn

import clsight
from clsight import analysis, figures
from clsight.analysis import MEASURES
from clsight.analysis.weights import cls_position, is_cls
from clsight.errors import RecordError
from clsight.summary import summary_lines

PLACES = [2, 0, 6]
KEEP = ["keys_values", "hidden", "contributions", "rollout", "received", "gradient"]


@pytest.fixture(scope="module")
def records():
    """Return the record of three samples at once, and one record of each."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True, dtype=torch.float64)
    model, x = (
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        torch.randn(3, 7, 12, dtype=torch.float64),
    )
    options = {"keep": KEEP, "target": lambda output: output[:, 3].sum(-1)}
    alone = [
        clsight.capture(model, x[place : place + 1], cls_index=index, **options)
        for place, index in enumerate(PLACES)
    ]
    return clsight.capture(model, x, cls_index=PLACES, **options), alone


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_of_a_sample_is_that_of_the_sample_alone(records, name):
    together, alone = records
    measure = MEASURES[name].function
    if name == "position_profile":  # the distances of all samples, NaN where one has none
        together_result = measure(together)
        for place, one in enumerate(alone):
            mine = together_result.isel(sample=place).dropna("distance")
            np.testing.assert_allclose(mine, measure(one).isel(sample=0), atol=1e-12)
            np.testing.assert_array_equal(mine.distance, measure(one).distance)
        return
    if together.get("row") is None and MEASURES[name].missing_from(together):
        pytest.fail(f"{name} is not tried: {MEASURES[name].missing_from(together)} is missing")
    result = measure(together)
    for place, one in enumerate(alone):
        np.testing.assert_allclose(result.isel(sample=place), measure(one).isel(sample=0), atol=1e-12)


def test_position_is_a_coordinate_that_selections_keep(records):
    together, _ = records
    assert together.attrs["cls_index"] is None
    assert together.cls_position.values.tolist() == PLACES
    assert int(cls_position(together.isel(sample=2), asked_by="test")) == 6
    one = together.isel(sample=[1])
    assert is_cls(one, asked_by="test").values.tolist() == [[True] + 6 * [False]]
    assert float(analysis.cls_self_attention(one)[0, 0, 0]) == float(one.attends_to[0, 0, 0, 0])


def test_record_is_saved_joined_summed_up_and_drawn(records, tmp_path):
    together, alone = records
    clsight.save_record(together, tmp_path / "eos.zarr.zip")
    opened = clsight.open_record(tmp_path / "eos.zarr.zip")
    assert opened.identical(together)
    joined = clsight.concat(alone)
    assert joined.cls_position.values.tolist() == PLACES
    np.testing.assert_allclose(joined.attends_to, together.attends_to, atol=1e-12)
    assert any("[CLS] is another token in each sample" in line for line in summary_lines(opened))
    grid = figures.layer_head_grid(opened, sample=2)
    assert grid.data


def test_records_of_other_positions_are_not_stacked(records):
    together, _ = records
    other = together.assign_coords(cls_position=("sample", [2, 1, 6]))
    with pytest.raises(RecordError, match="cls_position"):
        clsight.stack({"learned": together, "zeros": other})


@pytest.mark.parametrize("positions", [[2, 0, 7], [-1, 0, 6], [0.0, 1.0, 2.0]])
def test_positions_outside_the_tokens_are_refused(records, positions):
    together, _ = records
    with pytest.raises(RecordError, match=r"give the coordinate `cls_position` \(sample\)"):
        clsight.concat([together.assign_coords(cls_position=("sample", positions))])
