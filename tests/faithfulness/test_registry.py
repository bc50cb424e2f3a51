"""The list of metrics says of each what it does, and the page of the docs says the same."""

from inspect import Parameter, signature
from pathlib import Path
from runpy import run_path
from typing import get_args

import pytest

from clsight import faithfulness
from clsight.faithfulness import ATTRIBUTIONS, METRICS
from clsight.faithfulness.registry import Need

ROOT = Path(__file__).resolve().parents[2]


def test_every_metric_is_listed():
    others = {"compare", "score_batches", "summarize", "removal_curves", "leave_one_out"}
    functions = {name for name in faithfulness.__all__ if name.islower()}
    assert set(METRICS) == functions - others


@pytest.mark.parametrize("name", list(METRICS))
def test_metric_describes_itself(name):
    metric = METRICS[name]
    assert getattr(faithfulness, name) is metric.function
    assert metric.question.endswith("?")
    assert metric.definition.endswith(".")
    assert metric.range
    assert metric.trust
    assert metric.better in ("higher", "lower")
    assert "pass" in metric.cost or "capture" in metric.cost or metric.cost == "none"
    assert "arXiv" in metric.paper


@pytest.mark.parametrize("name", list(METRICS))
def test_a_metric_takes_what_it_needs_and_all_else_by_name(name):
    metric = METRICS[name]
    assert set(metric.needs) <= set(get_args(Need))
    parameters = list(signature(metric.function).parameters.values())
    positional = [one for one in parameters if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    if metric.needs != ("model",):
        assert tuple(one.name for one in positional) == metric.needs
    assert all(one.default is not Parameter.empty for one in parameters if one.kind is Parameter.KEYWORD_ONLY)


def test_page_of_the_docs_lists_the_metrics_as_they_are():
    page = run_path(str(ROOT / "docs" / "faithfulness.py"))["page"]()
    written = (ROOT / "docs" / "faithfulness.md").read_text(encoding="utf-8")
    assert written == page, "run `python docs/faithfulness.py`"
    assert all(f"### {name}\n" in written for name in METRICS)
    assert all(f"`{name}`" in written for name in ATTRIBUTIONS)
