import numpy as np
import pytest

import reference
from clsight.analysis import lift
from hand_made import patch_record, word_record


@pytest.mark.parametrize("make", [patch_record, word_record])
@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_lift_matches_dense_attention(make, direction):
    made = make()
    expected = reference.weight_over_uniform(made.dense, made.mask, column=direction == "attended_by")
    result = lift(made.record, direction=direction)
    assert result.dims == ("sample", "layer", "head", "token")
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_lift_of_uniform_weights_is_one():
    record = word_record().record.copy(deep=True)
    record["attends_to"].values[0, ..., :7] = 1 / 7
    result = lift(record).sel(sample=0)
    np.testing.assert_allclose(result.isel(token=slice(0, 7)), 1.0, rtol=1e-7)
    assert result.isel(token=slice(7, None)).isnull().all()


def test_lift_of_a_selection_is_the_selection_of_the_lift():
    record = word_record().record
    picked = {"sample": 1, "layer": [2, 0], "head": 3}
    np.testing.assert_array_equal(lift(record.sel(picked)), lift(record).sel(picked))
