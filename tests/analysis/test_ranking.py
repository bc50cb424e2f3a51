import numpy as np
import pytest

import clsight
from clsight import RecordError
from clsight.analysis import top_tokens
from hand_made import word_record


@pytest.mark.parametrize("direction", ["attends_to", "attended_by"])
def test_top_tokens_are_the_largest_weights_in_order(direction):
    record = word_record().record
    top = top_tokens(record, 3, direction=direction)
    assert dict(top.sizes) == {"sample": 2, "layer": 3, "head": 4, "rank": 3}
    for s, layer, h in np.ndindex(2, 3, 4):
        row = record[direction].values[s, layer, h]
        order = sorted((i for i in range(9) if record["token_mask"].values[s, i]), key=lambda i: -row[i])[:3]
        assert top["position"].values[s, layer, h].tolist() == order
        assert top["weight"].values[s, layer, h].tolist() == [row[i] for i in order]
        texts = [record["token_text"].values[s, i] for i in order]
        assert top["token_text"].values[s, layer, h].tolist() == texts


def test_top_tokens_fills_up_when_there_are_too_few():
    top = top_tokens(word_record().record, 100).isel(sample=0, layer=1, head=2)
    assert top.sizes["rank"] == 9
    assert top["position"].values[7:].tolist() == [-1, -1]
    assert top["token_text"].values[7:].tolist() == ["", ""]
    assert np.isnan(top["weight"].values).tolist() == [False] * 7 + [True] * 2


def test_top_tokens_over_heads_ranks_their_mean():
    record = word_record().record
    top = top_tokens(record, 1, over="head")
    mean = record["attends_to"].values.astype(np.float64).mean(axis=2)
    assert top["position"].dims == ("sample", "layer", "rank")
    np.testing.assert_array_equal(top["position"].isel(rank=0), mean.argmax(axis=-1))


def test_top_tokens_takes_equal_weights_in_token_order():
    record = word_record().record.copy(deep=True)
    record["attends_to"].values[...] = [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0, 0]
    assert top_tokens(record, 5)["position"].values[1, 0, 0].tolist() == [1, 3, 5, 0, 2]


def test_top_tokens_of_a_stack_keeps_the_members():
    stacked = clsight.stack({"a": word_record(seed=1).record, "b": word_record(seed=2).record})
    top = top_tokens(stacked, 2).sel(strategy="b")
    np.testing.assert_array_equal(top["position"], top_tokens(word_record(seed=2).record, 2)["position"])


def test_top_tokens_refuses_a_count_of_zero():
    with pytest.raises(RecordError, match="`count` of at least 1, but got 0"):
        top_tokens(word_record().record, 0)
