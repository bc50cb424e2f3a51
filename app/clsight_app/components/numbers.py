"""Small tables of numbers, aligned to the right, with their units or remarks."""

from collections.abc import Sequence

from dash import html

from clsight_app.views.comparison import Answer
from clsight_app.views.head import NamedNumber


def number_table(title: str, numbers: Sequence[NamedNumber]) -> html.Table:
    """Return a table with a line for each number, under a title."""
    return html.Table(
        [html.Caption(title), html.Tbody([_line(number) for number in numbers])], className="numbers"
    )


def _line(number: NamedNumber) -> html.Tr:
    return html.Tr(
        [
            html.Th(number.name, scope="row"),
            html.Td(number.value, className="number"),
            html.Td(number.remark, className="remark"),
        ]
    )


def answer_table(answers: Sequence[Answer]) -> html.Table:
    """Return a table with a line for each model: what it answers, and how far its attention moved."""
    names = ("CLS", "model", "prediction", "probability", "attention moved")
    numeric = ("", "", "", "number", "number")
    heading = [html.Th(name, scope="col", className=kind) for name, kind in zip(names, numeric, strict=True)]
    lines = [
        html.Tr(
            [
                html.Th(answer.member, scope="row"),
                html.Td(answer.model),
                html.Td(answer.predicted),
                html.Td(answer.probability, className="number"),
                html.Td(answer.moved, className="number"),
            ]
        )
        for answer in answers
    ]
    return html.Table([html.Thead(html.Tr(heading)), html.Tbody(lines)], className="numbers answers")
