"""All findings as plain values: every run has a row, and JSON holds what was computed."""

import json
import math

from clsight.study.packing import to_json
from clsight.study.report_values import Findings, as_values, run_rows
from clsight.study.results import StudyResults
from study.made_results import SHARED, declared, made_arm, made_study


def test_every_planned_run_has_a_row_with_its_state_and_numbers():
    numbers = [*SHARED[:6], math.nan, SHARED[7]]
    arm = made_arm({"strategy": "zeros", "bias": False}, numbers, missing=(2,), loss=[0.5] * 8)
    rows = run_rows(StudyResults(name="s", question="", level=0.05, arms=(arm,), primaries=()))
    assert [row["state"] for row in rows] == [
        "finished", "finished", "failed", "finished", "finished", "finished", "diverged", "finished"
    ]  # fmt: skip
    assert rows[2]["error"] == "ValueError: no"
    assert math.isnan(rows[2]["accuracy"])
    assert (rows[3]["accuracy"], rows[3]["loss"], rows[3]["key"]) == (SHARED[3], 0.5, "k3")
    assert (rows[0]["setting.strategy"], rows[0]["setting.bias"]) == ("zeros", False)


def test_values_are_json_and_hold_declared_and_exploratory_apart():
    effects = {(False, "pre"): 0.3, (True, "pre"): 0.0}
    study = made_study(effects, [declared("zeros", "learned", bias=False, norm="pre")])
    found = json.loads(to_json(as_values(Findings(study))))
    (answer,) = found["declared"]
    assert (answer["verdict"], answer["family"], answer["n"]) == ("different", 1, 8)
    assert answer["sentence"].startswith("zeros False pre: zeros has less accuracy than learned")
    contrasts = found["exploratory"]["contrasts"]
    assert [(one["a"], one["b"], one["reading"]) for one in contrasts] == [
        ("zeros", "learned", "lower"),
        ("zeros", "learned", "unclear"),
    ]
    (change,) = found["exploratory"]["changes"]
    assert (change["setting"], change["values"], change["shared"]) == ("bias", [False, True], "norm pre")
    assert abs(change["change"]["estimate"] - 0.3) < 1e-12
    assert [arm["numbers"]["accuracy"]["n"] for arm in found["exploratory"]["arms"]] == [8] * 4
    assert found["origin"]["command"] == "clsight study run study.toml --out study"


def test_larger_changes_come_first():
    effects = {(False, "pre"): 0.3, (True, "pre"): 0.0, (False, "post"): 0.4, (True, "post"): 0.0}
    changes = Findings(made_study(effects)).changes
    assert [one.is_clear for one in changes] == [True, True, True, False]
    sizes = [abs(float(one.interval["estimate"])) for one in changes[:3]]
    assert sizes == sorted(sizes, reverse=True)
