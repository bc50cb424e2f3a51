import numpy as np
import pytest

import reference
from clsight import RecordError
from clsight.analysis import cls_self_attention
from hand_made import patch_record, word_record


@pytest.mark.parametrize("make", [patch_record, word_record])
def test_cls_self_attention_matches_dense_attention(make):
    made = make()
    result = cls_self_attention(made.record)
    assert result.dims == ("sample", "layer", "head")
    np.testing.assert_allclose(result, reference.attention_of_cls_to_itself(made.dense), rtol=1e-7)


def test_cls_self_attention_follows_cls_to_the_end():
    record = patch_record().record
    moved = record.roll(token=-1, roll_coords=False).assign_attrs(cls_index=6)
    np.testing.assert_array_equal(cls_self_attention(moved), cls_self_attention(record))


def test_cls_self_attention_refuses_a_record_that_lost_cls():
    with pytest.raises(RecordError, match=r"a record that holds .CLS.*cls_index 0 and 6 tokens"):
        cls_self_attention(patch_record().record.isel(token=slice(1, None)))


def test_cls_self_attention_refuses_a_record_that_lost_its_attributes():
    with pytest.raises(RecordError, match="cls_index None"):
        cls_self_attention(patch_record().record.drop_attrs())
