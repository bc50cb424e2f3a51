import numpy as np
import pytest
from scipy.stats import ortho_group

import clsight
import reference_states
from clsight import RecordError
from clsight.analysis import cka
from hand_made import patch_record


def record_with(hidden, *, seed=0):
    record = patch_record(samples=len(hidden), layers=1, heads=1, seed=seed).record
    return record.assign(hidden=(("sample", "depth", "channel"), hidden))


def states(*, samples=12, depths=3, channels=7, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(samples, depths, channels)).cumsum(axis=1) + 5


def test_cka_matches_the_formula_of_song_in_loops():
    hidden, other = states(), states(channels=5, depths=2, seed=1)
    own, across = cka(record_with(hidden)), cka(record_with(hidden), to=record_with(other))
    assert own["cka"].dims == ("depth", "other_depth")
    np.testing.assert_allclose(own["cka"], reference_states.cka_of_depths(hidden, hidden), atol=1e-10)
    np.testing.assert_allclose(across["cka"], reference_states.cka_of_depths(hidden, other), atol=1e-10)


def test_cka_of_chance_is_that_of_shuffled_samples():
    hidden, other = states(), states(channels=5, depths=2, seed=1)
    result = cka(record_with(hidden), to=record_with(other), permutations=3, seed=5)
    generator = np.random.default_rng(5)
    shuffled = [reference_states.cka_of_depths(hidden, other[generator.permutation(12)]) for _ in range(3)]
    np.testing.assert_allclose(result["null_mean"], np.mean(shuffled, axis=0), atol=1e-10)
    as_large = sum(values >= result["cka"].values for values in shuffled)
    np.testing.assert_array_equal(result["p_value"], (1 + as_large) / 4)


def test_cka_of_turned_scaled_and_moved_states_is_one():
    hidden = states()
    turned = hidden @ ortho_group.rvs(7, random_state=1) * 3 + 100
    result = cka(record_with(hidden), to=record_with(turned))
    np.testing.assert_allclose(np.diagonal(result["cka"]), 1.0, atol=1e-10)
    assert (np.diagonal(result["p_value"]) == 1 / 1000).all()


def test_cka_of_unrelated_states_is_near_zero_where_the_biased_one_is_not():
    # 12 samples of 384 channels: the biased estimate is 0.5 by dimension alone
    one, other = (states(samples=12, depths=1, channels=384, seed=seed) for seed in (2, 3))
    result = cka(record_with(one), to=record_with(other))
    assert abs(result["cka"].item()) < 0.2
    assert abs(result["null_mean"].item()) < 0.05
    assert result["p_value"].item() > 0.05
    x, y = (values[:, 0] - values[:, 0].mean(axis=0) for values in (one, other))
    biased = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert biased > 0.4


def test_cka_p_values_of_unrelated_states_are_uniform():
    # 60 comparisons: the share below 0.2 is binomial, 0.2 ± 0.05; 4 standard deviations leave 0 to 0.41
    p_values = [
        cka(
            record_with(states(samples=8, depths=1, seed=seed)),
            to=record_with(states(samples=8, depths=1, seed=seed + 1000)),
            permutations=99,
            seed=seed,
        )["p_value"].item()
        for seed in range(60)
    ]
    assert 0.02 < np.mean(np.array(p_values) < 0.2) < 0.41
    assert 0.35 < np.mean(p_values) < 0.65


def test_cka_finds_a_relation_that_noise_hides():
    generator = np.random.default_rng(0)
    hidden = states(samples=40, depths=1)
    other = hidden + generator.normal(size=hidden.shape)
    result = cka(record_with(hidden), to=record_with(other))
    assert result["cka"].item() > 0.3
    assert result["p_value"].item() == 1 / 1000


def test_cka_is_nan_where_cls_does_not_vary_and_says_why():
    hidden = states()
    hidden[:, 0] = hidden[0, 0]
    result = cka(record_with(hidden))
    for name in ("cka", "null_mean", "p_value"):
        assert result[name].isel(depth=0).isnull().all()
        assert result[name].isel(other_depth=0).isnull().all()
        assert result[name][1:, 1:].notnull().all()
        assert result[name].attrs["undefined"] == (
            "NaN where CLS at that depth is the same in all samples, as at its start (zero variance, 0/0), "
            "or there are fewer than 4 samples"
        )


def test_cka_takes_rounding_of_the_stored_precision_for_no_variance():
    hidden = states().astype(np.float32)
    hidden[:, 0] = hidden[0, 0] * (1 + np.random.default_rng(0).integers(-1, 2, size=(12, 1)) * 1.2e-7)
    assert cka(record_with(hidden))["cka"].isel(depth=0).isnull().all()
    assert cka(record_with(hidden.astype(np.float64)))["cka"].isel(depth=0).notnull().all()


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_cka_of_fewer_than_four_samples_is_nan(samples):
    assert cka(record_with(states(samples=samples)))["cka"].isnull().all()


def test_cka_of_samples_that_are_all_equally_far_apart_is_nan():
    hidden = np.eye(6)[:, None]
    assert cka(record_with(hidden))["cka"].isnull().all()


def test_cka_does_not_depend_on_the_order_of_samples():
    hidden = states()
    order = np.random.default_rng(1).permutation(12)
    expected, shuffled = (
        cka(record_with(values), permutations=1)["cka"] for values in (hidden, hidden[order])
    )
    np.testing.assert_allclose(shuffled, expected, atol=1e-12)


def test_cka_says_what_it_was_made_of_and_how_small_p_can_get():
    record = record_with(states())
    assert cka(record, permutations=99, seed=5).attrs == {
        "samples": 12,
        "permutations": 99,
        "seed": 5,
        "smallest_p": 0.01,
    }
    assert cka(record_with(states(samples=4))).attrs["smallest_p"] == 1 / 24
    again = [cka(record, permutations=99, seed=5)["null_mean"] for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_cka_refuses_stacks_other_inputs_and_no_permutations():
    record = record_with(states())
    with pytest.raises(RecordError) as raised:
        cka(clsight.stack({"a": record, "b": record}))
    assert str(raised.value) == (
        "`cka`: expected a plain record with `hidden` of dims (sample, depth, channel), but got dims "
        "(strategy, sample, depth, channel). Select one member of a stack, and lists of samples and depths: "
        "record.isel(depth=[0])."
    )
    with pytest.raises(RecordError, match=r"`cka`: expected records of the same inputs, with equal `sample`"):
        cka(record, to=record.isel(sample=slice(0, 5)))
    with pytest.raises(RecordError) as raised:
        cka(record, permutations=0)
    assert str(raised.value) == (
        "`cka`: expected at least one of `permutations`, but got 0. Use 999 or more."
    )
    with pytest.raises(RecordError, match=r"`cka`: expected a record with `hidden`, .*keep='hidden'"):
        cka(record.drop_vars("hidden"))
