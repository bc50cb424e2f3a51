"""The faithfulness table as words, on scores whose order is known."""

import csv
import io

import numpy as np
import pytest
import xarray as xr

from clsight.faithfulness import summarize
from clsight_app.jobs import JobState, Progress
from clsight_app.views import trust

METRICS = ("comprehensiveness", "deletion_area")


def table(means, reasons=None):
    """Return the table of measures with these mean scores by metric; `random` scores 0.3 and 0.5."""
    names = [*means, "random"]
    score = np.array([*means.values(), (0.3, 0.5)])[:, :, None] + np.zeros(12)
    score = score + np.random.default_rng(8).normal(0, 0.02, size=score.shape)
    reason = np.full(score.shape, "", dtype=np.dtypes.StringDType())
    for name, why in (reasons or {}).items():
        score[names.index(name)], reason[names.index(name)] = np.nan, why
    return summarize(
        xr.Dataset(
            {
                "score": (("measure", "metric", "sample"), score),
                "reason": (("measure", "metric", "sample"), reason),
            },
            coords={
                "measure": names,
                "metric": list(METRICS),
                "label": ("measure", [f"the {name}" for name in names]),
            },
            attrs={"removal": "mask", "notes": []},
        )
    )


def test_rows_tell_best_and_not_told_apart_by_which_way_is_better():
    whole = table({"good": (0.6, 0.2), "plain": (0.3, 0.5), "bad": (0.1, 0.8)})
    rows = trust.rows_of(whole)
    assert [row.label for row in rows] == ["the good", "the plain", "the bad", "the random"]
    assert [row.is_random for row in rows] == [False, False, False, True]
    good, plain, bad, random = (row.cells for row in rows)
    assert [cell.is_best for cell in good] == [True, True]
    assert not any(cell.is_best for cells in (plain, bad, random) for cell in cells)
    assert [cell.is_like_random for cell in plain] == [True, True]
    assert not any(cell.is_like_random for cells in (good, bad, random) for cell in cells)
    first = whole.sel(measure="good", metric="comprehensiveness")
    assert good[0].score == f"{float(first['estimate']):.2f}"
    assert good[0].interval == f"{float(first['low']):.2f} to {float(first['high']):.2f}"


def test_missing_score_is_a_dash_with_its_reason():
    row = trust.rows_of(table({"good": (0.6, 0.2), "gone": (0, 0)}, {"gone": "no values"}))[1]
    assert [cell.score for cell in row.cells] == ["–", "–"]
    assert row.cells[0].reason == "12 of 12 samples: no values"
    assert not row.cells[0].is_like_random
    assert row.cells[0].interval == ""


def test_of_two_measures_with_the_same_best_score_none_is_best():
    whole = table({"good": (0.6, 0.2), "same": (0.6, 0.2)})
    for part in (name for name in whole.data_vars if "measure" in whole[name].dims):
        whole[part].loc[{"measure": "same"}] = whole[part].sel(measure="good").values
    assert not any(cell.is_best for row in trust.rows_of(whole) for cell in row.cells)
    assert trust.headline(whole) == "No measure is best alone by any metric, on 12 examples."


def test_negative_numbers_have_a_true_minus_sign():
    assert [trust.number(value) for value in (-0.256, -0.004, 0.996)] == ["−0.26", "0.00", "1.00"]


@pytest.mark.parametrize(
    ("means", "told"),
    [
        (
            {"good": (0.6, 0.2), "bad": (0.1, 0.8)},
            "For this model, the good has the best mean score by 2 of 2 metrics, on 12 examples.",
        ),
        (
            {"one": (0.6, 0.4), "other": (0.4, 0.2)},
            "No measure wins: the other and the one each have the best mean score by 1 of 2 metrics, on 12 "
            "examples.",
        ),
        (
            {"bad": (0.1, 0.8)},
            "For this model, the random has the best mean score by 2 of 2 metrics, on 12 examples.",
        ),
    ],
)
def test_headline_tells_the_best_or_that_there_is_none(means, told):
    assert trust.headline(table(means)) == told


def test_measures_like_random_by_every_metric_are_named():
    assert trust.like_random(table({"plain": (0.3, 0.5), "half": (0.3, 0.1)})) == (
        "By no metric told apart from a random ranking: the plain."
    )
    assert trust.like_random(table({"good": (0.6, 0.2)})) == ""


def test_headline_tells_that_nothing_has_a_score():
    whole = table({"gone": (0, 0)}, {"gone": "no values", "random": "no values"})
    assert trust.headline(whole) == "No measure has a score on 12 examples; the table tells why."


def test_removal_is_told():
    told = table({"good": (0.6, 0.2)})
    assert trust.told_removal(told).startswith("Tokens were hidden by the mask.")
    told.attrs |= {"removal": "baseline", "baseline": "mean"}
    assert trust.told_removal(told).startswith("Tokens were replaced by the baseline mean.")


def test_csv_has_every_number_in_full():
    whole = table({"good": (0.6, 0.2), "gone": (0, 0)}, {"gone": 'no "values", none'})
    lines = list(csv.DictReader(io.StringIO(trust.csv_of(whole))))
    assert len(lines) == 6
    first = lines[0]
    assert (first["measure"], first["label"], first["metric"]) == ("good", "the good", "comprehensiveness")
    assert [line["better"] for line in lines[:2]] == ["higher", "lower"]
    cell = whole.sel(measure="good", metric="comprehensiveness")
    for name in ("estimate", "low", "high", "above_random", "above_random_low", "above_random_high"):
        assert float(first[name]) == float(cell[name])
    assert lines[2]["reason"] == '12 of 12 samples: no "values", none'


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (JobState("waiting"), "Waiting for a free thread."),
        (JobState("waiting", ahead=3), "Waiting: 3 before it."),
        (JobState("running", Progress(0, 20)), "0 of 20 examples."),
        (JobState("running", Progress(5, 20), seconds=4.0), "5 of 20 examples, about 12 s left."),
        (JobState("running", Progress(5, 20), seconds=100.0), "5 of 20 examples, about 5 min left."),
        (JobState("running", Progress(20, 20), seconds=4.0), "Computing the intervals."),
        (JobState("running", Progress(5, 20), is_stopping=True), "Stopping after the batch at hand."),
        (JobState("canceled", Progress(5, 20)), "Canceled after 5 of 20 examples."),
        (JobState("canceled"), "Canceled before it began."),
        (JobState("failed", error="`x`: expected y."), "`x`: expected y."),
    ],
)
def test_state_of_a_job_is_a_sentence(state, told):
    assert trust.told_state(state) == told
