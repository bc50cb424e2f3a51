"""The faithfulness table, its curves, and what each metric asks and does not show."""

from typing import Any

from dash import html
from plotly.graph_objects import Figure

from clsight import figures
from clsight.faithfulness import METRICS
from clsight_app import ids
from clsight_app.components.graph import graph
from clsight_app.components.labels import labeled
from clsight_app.trusting import CURVES, METRIC_NAMES, Trust
from clsight_app.views.trust import Cell, Row, metric_title, rows_of


def trust_table(trust: Trust) -> html.Div:
    """Return the table: a line per measure, a column per metric; it scrolls sideways where it is narrow."""
    metrics = trust.table["metric"].values.tolist()
    heads = [html.Th("measure", scope="col"), *(_head(metric) for metric in metrics)]
    rows = [_row(row) for row in rows_of(trust.table)]
    table = html.Table(
        [
            html.Caption("Mean over examples, with 95 % intervals", className="visually-hidden"),
            html.Thead(html.Tr(heads)),
            html.Tbody(rows),
        ],
        className="numbers trust-table",
        id=ids.TRUST_TABLE,
    )
    return html.Div(table, className="scroller", tabIndex="0", **labeled("Faithfulness of the measures"))


def trust_curves(trust: Trust, *, dark: bool) -> list[Any]:
    """Return both curves beside each other, under one legend."""
    drawn = {name: figures.faithfulness_curves(trust.curves[name], name, dark=dark) for name in CURVES}
    titles = {name: figure.layout.title.text for name, figure in drawn.items()}
    legend = _legend(drawn["deletion"])
    curves = [
        graph(
            figure.update_layout(showlegend=False),
            component_id=f"{ids.TRUST_CURVES}-{name}",
            title=titles[name],
            remark="lower is better" if name == "deletion" else "higher is better",
            style={"height": "320px"},
        )
        for name, figure in drawn.items()
    ]
    return [html.H2("Curves"), legend, html.Div(curves, className="pair curves-of-removal")]


def metric_cards() -> html.Div:
    """Return for each metric its question, which way is better, its definition, source and trust sentence."""
    return html.Div([_card(name) for name in METRIC_NAMES], className="cards")


def _card(name: str) -> html.Article:
    metric = METRICS[name]
    title = metric_title(name)
    return html.Article(
        [
            html.H3(title[:1].upper() + title[1:], id=f"metric-{name}"),
            html.P(metric.question, className="card-question"),
            html.P([html.Strong(f"{metric.better.capitalize()} is better. "), metric.definition]),
            html.P(metric.trust, className="remark"),
            html.P(metric.paper, className="remark"),
        ],
        className="card",
    )


def _head(metric: str) -> html.Th:
    better = METRICS[metric].better
    arrow = "↑" if better == "higher" else "↓"
    title = html.A(metric_title(metric), href=f"#metric-{metric}", title=METRICS[metric].question)
    return html.Th(
        [title, html.Span(f" {arrow} {better} is better", className="better")],
        scope="col",
        className="number",
    )


def _row(row: Row) -> html.Tr:
    return html.Tr(
        [html.Th(row.label, scope="row"), *(_cell(cell) for cell in row.cells)],
        className="random-row" if row.is_random else None,
    )


def _cell(cell: Cell) -> html.Td:
    marks = [html.Span("best", className="mark")] if cell.is_best else []
    if cell.is_like_random:
        marks.append(html.Span("like random", className="mark mark-quiet"))
    told: dict[str, Any] = {"title": cell.reason} if cell.reason else {}
    return html.Td(
        [
            html.Span(cell.score, className="score"),
            html.Span(cell.interval, className="interval"),
            *marks,
            *([html.Details([html.Summary("why"), cell.reason])] if cell.score == "–" else []),
        ],
        className="number"
        + (" best" if cell.is_best else "")
        + (" like-random" if cell.is_like_random else ""),
        **told,
    )


def _legend(figure: Figure) -> html.Div:
    lines = [trace for trace in figure.data if trace.showlegend is not False]
    return html.Div(
        [
            html.Span(
                [
                    html.Span(className=f"dash dash-{line.line.dash}", style={"color": line.line.color}),
                    line.name,
                ]
            )
            for line in lines
        ],
        className="legend",
    )
