"""What a measure asks, how it is defined, where it comes from and how far to trust it: two lines and more."""

from typing import Any, Final

from dash import html

from clsight.analysis import Measure
from clsight.analysis.registry import DIRECT_TRUST

_QUESTION: Final = {
    "attends_to": "How much weight does CLS give to each token?",
    "attended_by": "How much weight does each token give to CLS?",
}
_DEFINITION: Final = {
    "attends_to": "The row of CLS: softmax weights of its query over all tokens, before dropout; sums to 1.",
    "attended_by": "The column of CLS: the weight that each token's query puts on CLS; no rule for its sum.",
}


def weights_card(direction: str) -> html.Details:
    """Return what the weights themselves say."""
    facts = {"Definition": _DEFINITION[direction], "Range": "0 to 1", "Trust": DIRECT_TRUST}
    return _card(_QUESTION[direction], facts)


def measure_card(measure: Measure) -> html.Details:
    """Return what a measure asks, and on a click its definition, range, cost, paper and trust."""
    facts = {
        "Definition": measure.definition,
        "Unit": measure.unit,
        "Range": measure.range,
        "Cost": measure.cost,
        "Paper": measure.paper,
        "Trust": measure.trust,
    }
    return _card(measure.question, {name: fact for name, fact in facts.items() if fact})


def _card(question: str, facts: dict[str, str]) -> html.Details:
    terms: list[Any] = []
    for name, fact in facts.items():
        terms += [html.Dt(name), html.Dd(fact)]
    summary = html.Summary([question, html.Span(" Definition, paper, trust", className="remark")])
    return html.Details([summary, html.Dl(terms, className="facts")], className="measure-card")
