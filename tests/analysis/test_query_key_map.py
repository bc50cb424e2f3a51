"""The plane of queries and keys: its points against a slow version, its weights unchanged, its refusals."""

import numpy as np
import pytest

import clsight
from clsight.analysis import joint_map
from clsight.analysis.query_key_map import _side_by_side
from clsight.errors import RecordError


@pytest.fixture(scope="module")
def record():
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    return clsight.capture(subject, subject.examples[:5], keep=["keys_values"]).sel(layer=1, head=2)


def test_points_span_the_two_widest_directions(record):
    found = joint_map(record)
    queries = record["query"].values.astype(np.float64)
    keys = record["keys"].values.reshape(-1, record.sizes["head_dim"]).astype(np.float64)
    spread = [
        np.sqrt(np.mean([sum((one - cloud.mean(0)) ** 2) for one in cloud])) for cloud in (queries, keys)
    ]
    factor = np.sqrt(spread[1] / spread[0])
    moved = [key / factor - keys.mean(0) / factor + factor * queries.mean(0) for key in keys]
    cloud = np.array([*(factor * queries), *moved])
    covariance = np.cov(cloud.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    for axis, name in ((-1, "x"), (-2, "y")):
        expected = (cloud - cloud.mean(0)) @ vectors[:, axis]
        sign = np.sign(expected @ found[name].values)
        np.testing.assert_allclose(found[name], sign * expected, atol=1e-9)
    np.testing.assert_allclose(found.attrs["explained"], values[:-3:-1] / values.sum(), rtol=1e-9)
    assert found["kind"].values.tolist() == ["query"] * 5 + ["key"] * 5 * 17
    assert found["token"].values[5:22].tolist() == list(range(17))
    assert set(found["token"].values[:5].tolist()) == {0}


def test_moving_and_scaling_leave_every_weight_as_it_was():
    draw = np.random.default_rng(2)
    queries, keys = draw.normal(3, 2, (4, 6)), draw.normal(-1, 0.3, (9, 6))
    before = [np.exp(keys @ query) / np.exp(keys @ query).sum() for query in queries]
    scaled, moved = _side_by_side(queries, keys)
    after = [np.exp(moved @ query) / np.exp(moved @ query).sum() for query in scaled]
    np.testing.assert_allclose(after, before, rtol=1e-9)
    np.testing.assert_allclose(scaled.mean(0), moved.mean(0))


def test_padding_is_no_key_and_no_more_points_than_asked_for(record):
    mask = record["token_mask"].copy()
    mask[1, 4:] = False
    found = joint_map(record.assign(token_mask=mask))
    assert int((found["kind"] == "key").sum()) == 4 * 17 + 4
    few = joint_map(record, most=3)
    assert few.sizes["point"] == 6
    assert few.identical(joint_map(record, most=3))
    assert not few.identical(joint_map(record, most=3, seed=1))


def test_refusals_say_what_to_do(record):
    subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
    whole = clsight.capture(subject, subject.examples[:1], keep=["keys_values"])
    with pytest.raises(RecordError) as refusal:
        joint_map(whole)
    assert str(refusal.value) == (
        "`joint_map`: expected one layer and one head, but got layer=3, head=4. Select first: "
        "record.sel(layer=0, head=0)."
    )
    with pytest.raises(RecordError, match="keys"):
        joint_map(record.drop_vars("keys"))
    with pytest.raises(RecordError, match="at least 3 queries and keys, but got 2"):
        joint_map(record.isel(sample=[0], token=[0]))
