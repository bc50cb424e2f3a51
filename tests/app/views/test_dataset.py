"""Many samples as numbers and words, against slow versions and known answers."""

import csv
import io

import numpy as np
import pytest
import xarray as xr

from clsight.errors import AppError
from clsight_app.dataset import PER_HEAD, measures_of
from clsight_app.views import dataset as views
from hand_made import patch_record, word_record


def values_of(numbers):
    return xr.DataArray(np.array(numbers, dtype=float), dims="sample")


@pytest.fixture(scope="module")
def made():
    return patch_record(samples=6)


@pytest.fixture(scope="module")
def heads(made):
    return views.heads_over_samples(measures_of(made.record))


def test_measures_are_those_of_the_dense_weights(made):
    found = measures_of(made.record)
    assert tuple(found) == PER_HEAD
    for sample, layer, head in np.ndindex(6, 3, 4):
        dense = made.dense[sample, layer, head]
        one = found.isel(sample=sample, layer=layer, head=head)
        received = np.mean([dense[query, 0] for query in range(1, len(dense))])
        assert float(one["entropy"]) == pytest.approx(-sum(w * np.log(w) for w in dense[0]), rel=1e-5)
        assert float(one["cls_self_attention"]) == pytest.approx(dense[0, 0], rel=1e-5)
        assert float(one["mean_attended_by"]) == pytest.approx(received, rel=1e-5)
        assert float(one["sink_rate"]) == (received > 0.3)
        assert float(one["max_share"]) == pytest.approx(max(dense[0]), rel=1e-5)


def test_measure_that_the_record_lacks_is_left_out(made):
    found = measures_of(made.record.drop_vars("attended_by"))
    assert tuple(found) == ("entropy", "cls_self_attention", "max_share")


def test_heads_have_mean_interval_and_where_four_of_five_lie(made, heads):
    entropy = measures_of(made.record)["entropy"].values[:, 2, 1]
    one = heads.sel(measure="entropy", layer=2, head=1)
    assert float(one["estimate"]) == pytest.approx(sum(entropy) / 6)
    assert float(one["low"]) < float(one["estimate"]) < float(one["high"])
    assert float(one["spread_low"]) == pytest.approx(np.quantile(entropy, 0.1))
    assert float(one["spread_high"]) == pytest.approx(np.quantile(entropy, 0.9))
    assert int(one["n"]) == 6


def test_headline_names_the_head_with_the_smallest_entropy(heads):
    means = heads["estimate"].sel(measure="entropy").values
    layer, head = (int(at) for at in np.unravel_index(means.argmin(), means.shape))
    text = views.headline(heads, 6)
    assert text.startswith(f"Over 6 samples, the most focused head is layer {layer}, head {head} (entropy ")
    assert f"{means.min():.2f} nats, 95 % interval" in text


def test_extremes_are_the_ends_and_no_sample_is_in_both():
    found = views.extremes(values_of([3, np.nan, 1, 5, 5, 2]), np.arange(6), count=2)
    assert (found.highest, found.lowest) == ((3, 4), (2, 5))
    few = views.extremes(values_of([3, 1, 2, 9]), np.array([0, 1, 2]))
    assert (few.highest, few.lowest) == ((0, 2), (1,))
    none = views.extremes(values_of([np.nan]), np.array([0]))
    assert (none.highest, none.lowest) == ((), ())


def test_samples_are_grouped_by_class_else_by_answer(made):
    names = np.array(["<b>", "two", "3", "4", "5", "6"], dtype=np.dtypes.StringDType())
    record = made.record.assign_coords(label=("sample", [0, 1, 0, -1, 1, 9]), class_name=("class", names))
    assert views.groups_of(record) == ("class", ["<b>", "two", "<b>", "none", "two", "9"])
    assert views.members_of(record, "<b>").tolist() == [0, 2]
    assert views.members_of(record, "").tolist() == list(range(6))
    logits = np.eye(6)[[1, 1, 1, 0, 0, 0]]
    answers = record.drop_vars("label").assign(logits=(("sample", "class"), logits))
    assert views.groups_of(answers) == ("predicted class", ["two"] * 3 + ["<b>"] * 3)
    with pytest.raises(AppError, match="`class`: expected one of the samples', but got 'thre'"):
        views.members_of(record, "thre")


def test_profile_is_the_mean_over_samples_with_padding_left_out():
    made = word_record(samples=3)
    found = views.profile_of(made.record.sel(layer=1, head=2))
    last = made.mask.sum(1).max() - 1
    weights = [made.dense[s, 1, 2, 0, last] for s in range(3) if made.mask[s, last]]
    assert float(found["mean"].sel(distance=last)) == pytest.approx(np.mean(weights), rel=1e-5)
    assert float(found["low"].sel(distance=last)) == pytest.approx(np.quantile(weights, 0.1), rel=1e-5)


def test_csv_has_a_line_for_each_measure_and_head(heads):
    lines = list(csv.DictReader(io.StringIO(views.csv_of(heads))))
    assert len(lines) == len(PER_HEAD) * 3 * 4
    line = next(
        one for one in lines if (one["measure"], one["layer"], one["head"]) == ("max_share", "2", "3")
    )
    assert float(line["estimate"]) == float(heads["estimate"].sel(measure="max_share", layer=2, head=3))


def test_undefined_measure_is_told_as_none():
    assert views.told("entropy", np.nan) == "none"
    assert views.told("entropy", 1.234) == "1.23 nats"
    assert views.told("sink_rate", 0.5) == "50 %"
