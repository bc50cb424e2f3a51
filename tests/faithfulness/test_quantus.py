"""Curves, evidence and cascade against Quantus 0.6.0, which benchmarks/attribution_peers.py ran."""

import numpy as np
import pytest
import xarray as xr

import peer_cases as cases
from clsight.faithfulness import (
    auprc,
    leave_one_out,
    leave_one_out_tau,
    pointing_game,
    randomization_cascade,
    removal_curves,
)

DIMS = ("sample", "token")
PATCHES = 16
ATOL = 1e-14  # rounding of probabilities and precisions, in float64 on both sides
ZERO = {"by": "baseline", "baseline": "zero", "progress": False}


@pytest.fixture(scope="module")
def quantus():
    return cases.numbers(cases.FAITHFULNESS, "quantus")


def with_cls(scores, kind, **coords):
    """An attribution of CLS, which is 0, and of tokens of one kind."""
    values = np.pad(np.asarray(scores, dtype=float), ((0, 0), (1, 0)))
    kinds = np.full(values.shape, kind, dtype=np.dtypes.StringDType())
    kinds[:, 0] = "cls"
    return xr.DataArray(values, dims=DIMS, coords={"token_kind": (DIMS, kinds), **coords})


def of_patches(scores):
    """An attribution of CLS and patches from scores [sample, row, column]."""
    rows, columns = np.divmod(np.arange(PATCHES), 4)
    samples = len(scores)
    places = {"row": rows, "column": columns}
    coords = {
        name: (DIMS, np.tile([-1, *place], (samples, 1)).astype(np.int16)) for name, place in places.items()
    }
    return with_cls(scores.reshape(samples, PATCHES), "patch", **coords)


def test_deletion_of_steps_is_pixel_flipping(quantus):
    module, x, classes, scores = cases.steps_case()
    curves = removal_curves(module, {"x": x}, with_cls(scores, "step"), steps=cases.STEPS, **ZERO)
    assert curves.target.values.tolist() == classes
    np.testing.assert_allclose(curves.deletion[:, 1:], quantus["pixel flipping"], atol=ATOL, rtol=0)


@pytest.mark.parametrize("sample", range(4))
def test_single_steps_rank_as_in_the_faithfulness_estimate(quantus, sample):
    module, x, _, scores = cases.steps_case()
    scores = with_cls(scores, "step")
    effects = leave_one_out(module, {"x": x}, token_kind=scores.token_kind, **ZERO)
    tau = leave_one_out_tau(scores, effects)
    np.testing.assert_allclose(tau[sample], quantus["single steps, tau"][sample], atol=ATOL, rtol=0)


def test_curves_of_patches_are_those_of_region_perturbation(quantus):
    module, x, classes, scores = cases.pictures_case()
    curves = removal_curves(module, {"pixels": x}, of_patches(scores), steps=PATCHES, **ZERO)
    assert curves.target.values.tolist() == classes
    whole, deletion = curves.deletion.values[:, :1], curves.deletion.values[:, 1:]
    np.testing.assert_allclose(whole - deletion, quantus["region perturbation, morf"], atol=ATOL, rtol=0)
    # the least relevant first: after k of them the other 16 − k alone are there
    insertion = curves.insertion.values[:, -2::-1]
    np.testing.assert_allclose(whole - insertion, quantus["region perturbation, lerf"], atol=ATOL, rtol=0)


def marked():
    scores, marks = cases.marked_patches()
    evidence = np.pad(marks.reshape(-1, PATCHES), ((0, 0), (1, 0)))
    return of_patches(scores), xr.DataArray(evidence, dims=DIMS)


def test_pointing_game_is_that_of_quantus(quantus):
    found = pointing_game(*marked())
    np.testing.assert_array_equal(found, quantus["pointing game"])
    assert 0 < found.sum() < len(found)


def test_average_precision_is_that_of_its_top_k_intersections(quantus):
    _, evidence = marked()
    count = evidence.values.sum(1)
    top = np.pad(quantus["top-k intersection"], ((0, 0), (1, 1)))  # P_k; none of none, and all of all
    top[:, -1] = count / PATCHES
    recall = top * np.arange(PATCHES + 1) / count[:, None]
    expected = (np.diff(recall, axis=1) * top[:, 1:]).sum(1)
    np.testing.assert_allclose(auprc(*marked()), expected, atol=ATOL, rtol=0)


def test_average_precision_of_one_patch_follows_from_the_area_under_roc(quantus):
    area = np.array(quantus["area under ROC"])
    one = marked()[1].values.sum(1) == 1
    assert one.sum() >= 5
    expected = 1 / (
        PATCHES - area * (PATCHES - 1)
    )  # of n, rank r has area (n − r) / (n − 1), precision 1 / r
    np.testing.assert_allclose(auprc(*marked())[one], expected[one], atol=ATOL, rtol=0)


@pytest.mark.parametrize("name", ["attention", "gradient"])
def test_cascade_is_the_randomization_of_quantus(quantus, name):
    module, x, classes, _ = cases.steps_case()

    def gradient(module, inputs):
        return with_cls(module.gradient_times_input(inputs["x"], classes), "step")

    measure = gradient if name == "gradient" else name
    kinds = with_cls(np.zeros((len(x), cases.STEPS)), "step").token_kind
    cascade = randomization_cascade(module, {"x": x}, measure, seed=0, token_kind=kinds, progress=False)
    expected = quantus[f"cascade, {name}"]
    assert expected.pop("original") == [1.0] * len(x)
    assert [*expected] == ["head", "layers.1", "layers.0", "embedding"]
    assert cascade.unit.values.tolist() == ["head", "layers.1", "layers.0", "before the first layer"]
    np.testing.assert_allclose(cascade.rank_correlation, [*expected.values()], atol=ATOL, rtol=0)
