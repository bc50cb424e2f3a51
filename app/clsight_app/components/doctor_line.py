"""What the doctor found, in one line above the maps: the worst finding; the others on a click."""

from collections.abc import Iterator
from typing import Any

import dash_mantine_components as dmc
from dash import html

from clsight.doctor import Finding, Findings
from clsight_app import ids


def doctor_line(findings: Findings, *, acknowledged: bool = False) -> html.Div:
    """Return the line that tells the worst finding, and all of them when it is opened.

    Args:
        findings: What the doctor found.
        acknowledged: Whether its errors were read; until then the style sheet strikes the maps through.
    """
    line = _opening_line(findings)
    if not findings.errors:
        return html.Div(line)
    box = dmc.Checkbox(
        id=ids.ACKNOWLEDGE,
        label="I have read this; show the maps unstruck",
        checked=acknowledged,
        size="xs",
    )
    return html.Div([line, box], className="doctor-has-errors")


def _opening_line(findings: Findings) -> html.Details:
    told = [finding for finding in findings if finding.severity != "ok"]
    body = [html.Ul([_item(finding) for finding in told], className="findings"), _rest(findings)]
    is_wrong = " doctor-error" if findings.errors else ""
    return html.Details([html.Summary(_line(findings)), *body], className=f"doctor{is_wrong}")


def waiting_line() -> html.P:
    """Return what stands there until the doctor is done, as high as the line itself."""
    return html.P("Doctor: looking at the model…", className="doctor remark")


def _line(findings: Findings) -> list[Any]:
    """Return how many findings there are and the sentence of the worst, which an open list repeats."""
    labels = "".join(f"{label}; " for label in findings.labels)
    counted = ", ".join(_counts(findings))
    if not counted:
        return [f"Doctor: {labels}nothing to report, {_counted(len(findings.passed), 'check')} in order."]
    return [f"Doctor: {labels}{counted}. ", html.Span(findings[0].sentence, className="doctor-worst")]


def _counts(findings: Findings) -> Iterator[str]:
    """Yield the number of findings of each severity that there are."""
    for name, found in (
        ("error", findings.errors),
        ("warning", findings.warnings),
        ("note", findings.notes),
    ):
        if found:
            yield _counted(len(found), name)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _item(finding: Finding) -> html.Li:
    head: list[Any] = [html.Strong(f"{finding.severity.capitalize()}: "), finding.sentence]
    return html.Li([*head, html.Div(f"{finding.why} {finding.next_step}", className="remark")])


def _rest(findings: Findings) -> html.Details:
    """Return what is in order and what could not be looked at, on a further click."""
    passed = [html.Li(finding.sentence) for finding in findings.passed]
    skipped = [html.Li(f"{check}: {reason}.") for check, reason in findings.not_applicable.items()]
    title = f"{_counted(len(passed), 'check')} in order, {len(skipped)} not applicable"
    lists = [html.Ul(passed, className="findings"), html.Ul(skipped, className="findings remark")]
    return html.Details([html.Summary(title), *lists], className="doctor-rest")
