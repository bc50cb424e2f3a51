"""Removal, leave-one-out and average precision against ferret 0.4.2: benchmarks/attribution_peers.py ran it.

ferret removes 10 %, 20 %, … of the words, rounded down, and counts equal numbers once, where clsight rounds
up; curves with one step per word hold both. Its area under precision and recall is by trapezoids, clsight's
by steps.
"""

import numpy as np
import pytest
import torch
import xarray as xr

import peer_cases as cases
from clsight.faithfulness import (
    aopc_comprehensiveness,
    aopc_sufficiency,
    auprc,
    comprehensiveness,
    leave_one_out,
    leave_one_out_tau,
    removal_curves,
    sufficiency,
)

DIMS = ("sample", "token")
MASK = {"by": "baseline", "baseline": cases.SPECIAL.index("[MASK]")}
WAYS = {"deletion": {"by": "deletion"}, "mask id": MASK}
SAMPLES = range(len(cases.LENGTHS))
ATOL = 1e-14  # rounding of the probabilities, in float64 on both sides


@pytest.fixture(scope="module")
def ferret():
    return cases.numbers(cases.FAITHFULNESS, "ferret")


def inputs_of(sample):
    return {"input_ids": torch.tensor([cases.enclosed(cases.sentences()[sample])])}


def kinds_of(length):
    return ["cls", *["word"] * length, "special"]


def scores_of(sample):
    scores = cases.text_case()[1][sample]
    kinds = np.array([kinds_of(len(scores) - 2)], dtype=np.dtypes.StringDType())
    return xr.DataArray(scores[None], dims=DIMS, coords={"token_kind": (DIMS, kinds)})


def curves_of(sample, way, steps):
    return removal_curves(
        cases.text_case()[0], inputs_of(sample), scores_of(sample), steps=steps, progress=False, **WAYS[way]
    )


def counts_of_ferret(sample, at_most):
    """Numbers of words that ferret removes."""
    length = cases.LENGTHS[sample]
    return sorted({min(tenth * length // 10, at_most) for tenth in range(1, 11)} - {0})


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("way", [*WAYS, "deletion, positive"])
def test_curves_hold_the_means_that_ferret_takes(ferret, way, sample):
    curves = curves_of(sample, way.removesuffix(", positive"), cases.LENGTHS[sample])
    positive = int((scores_of(sample)[0, 1:-1] > 0).sum())
    counts = counts_of_ferret(sample, positive if "positive" in way else cases.LENGTHS[sample])
    whole = curves["deletion"][0, 0]
    for curve, name in (("deletion", "comprehensiveness"), ("insertion", "sufficiency")):
        lost = whole - curves[curve][0, counts].mean()
        np.testing.assert_allclose(lost, ferret[f"aopc_{name}, {way}"][sample], atol=ATOL, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_means_of_ten_words_are_those_of_ferret(ferret, way):
    curves = curves_of(0, way, steps=10)
    for name, metric in (("comprehensiveness", aopc_comprehensiveness), ("sufficiency", aopc_sufficiency)):
        np.testing.assert_allclose(metric(curves)[0], ferret[f"aopc_{name}, {way}"][0], atol=ATOL, rtol=0)


def test_a_fifth_of_ten_words_is_that_of_ferret(ferret):
    curves = curves_of(0, "deletion", steps=10)
    for name, metric in (("comprehensiveness", comprehensiveness), ("sufficiency", sufficiency)):
        expected = ferret[f"{name} at 20 %, deletion"][0]
        np.testing.assert_allclose(metric(curves, fraction=0.2)[0], expected, atol=ATOL, rtol=0)


def padded():
    """All sentences in one batch: inputs, kinds, scores."""
    most = max(cases.LENGTHS) + 2
    ids, mask = torch.zeros((2, len(SAMPLES), most), dtype=torch.long)
    kinds, scores = np.full(ids.shape, "pad", dtype=np.dtypes.StringDType()), np.zeros(ids.shape)
    for sample, words in enumerate(cases.sentences()):
        there = len(words) + 2
        ids[sample, :there], mask[sample, :there] = torch.tensor(cases.enclosed(words)), 1
        kinds[sample, :there], scores[sample, :there] = kinds_of(len(words)), cases.text_case()[1][sample]
    coords = {"token_kind": (DIMS, kinds)}
    return {"input_ids": ids, "attention_mask": mask}, kinds, xr.DataArray(scores, dims=DIMS, coords=coords)


def test_effects_of_single_words_and_their_tau_are_those_of_ferret(ferret):
    inputs, kinds, scores = padded()
    effects = leave_one_out(cases.text_case()[0], inputs, by="deletion", token_kind=kinds, progress=False)
    for sample, length in enumerate(cases.LENGTHS):
        expected = ferret["leave_one_out"][sample]
        np.testing.assert_allclose(effects[sample, 1 : length + 1], expected, atol=ATOL, rtol=0)
    tau = leave_one_out_tau(scores, effects)
    np.testing.assert_allclose(tau, ferret["leave_one_out_tau"], atol=ATOL, rtol=0)


def test_average_precision_is_that_of_ferret_between_its_trapezoids(ferret):
    for sample, rationale in enumerate(cases.rationales()):
        evidence = xr.DataArray([rationale], dims=DIMS).astype(bool)
        precision = float(auprc(scores_of(sample), evidence)[0])
        expected = ferret["auprc"][sample]
        np.testing.assert_allclose(precision + above_steps(sample, rationale), expected, atol=ATOL, rtol=0)


def above_steps(sample, rationale):
    """Area by trapezoids less that by steps: ½ Σ (P_n−1 − P_n) / marked, n the ranks of evidence, P_0 = 1."""
    ranked = sorted(range(1, len(rationale) - 1), key=lambda token: -cases.text_case()[1][sample][token])
    hits, before, area = 0, 1.0, 0.0
    for rank, token in enumerate(ranked, start=1):
        hits += rationale[token]
        area += rationale[token] * (before - hits / rank) / 2 / sum(rationale)
        before = hits / rank
    return area
