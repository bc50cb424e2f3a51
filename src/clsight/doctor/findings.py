"""What the doctor found: findings, the worst first, as text for a terminal, as HTML and as JSON."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, Final, Literal, overload

Severity = Literal["error", "warning", "note", "ok"]
SEVERITIES: Final[dict[Severity, str]] = {
    "error": "the map means nothing, or not what it says",
    "warning": "the map may mislead, or the model is not what its owner thinks",
    "note": "worth knowing, and common in healthy models",
    "ok": "looked for and in order",
}
"""Every severity, the worst first, and what it says."""

_PLURAL: Final[dict[Severity, str]] = {"error": "errors", "warning": "warnings", "note": "notes"}
_INDENT: Final = 9


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        severity: A key of `SEVERITIES`.
        sentence: What was found, with its number.
        why: Why it matters; empty if all is in order.
        next_step: One thing to do now; empty if nothing is to do.
        check: Name of the check, a key of `clsight.doctor.CHECKS`.
    """

    severity: Severity
    sentence: str
    why: str = ""
    next_step: str = ""
    check: str = ""


def error(sentence: str, *, why: str, next_step: str) -> Finding:
    """Return a finding that makes the map meaningless."""
    return Finding("error", sentence, why, next_step)


def warning(sentence: str, *, why: str, next_step: str) -> Finding:
    """Return a finding by which the map may mislead."""
    return Finding("warning", sentence, why, next_step)


def note(sentence: str, *, why: str, next_step: str) -> Finding:
    """Return a finding that is common in healthy models."""
    return Finding("note", sentence, why, next_step)


def ok(sentence: str) -> Finding:
    """Return a finding that says what is in order."""
    return Finding("ok", sentence)


@dataclass(frozen=True)
class Findings(Sequence[Finding]):
    """All findings about one model, the worst first.

    Attributes:
        model: Name of the model.
        all: Every finding, those that are in order last.
        not_applicable: Name of each check that could not look, and why.
        labels: What a reader must know of how it was looked, such as "reconstructed forward".
    """

    model: str
    all: tuple[Finding, ...]
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rank = list(SEVERITIES).index
        object.__setattr__(self, "all", tuple(sorted(self.all, key=lambda finding: rank(finding.severity))))

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return self.all[index]

    def __len__(self) -> int:
        return len(self.all)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What makes the map meaningless."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may mislead."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth knowing."""
        return self._of("note")

    @property
    def passed(self) -> tuple[Finding, ...]:
        """What was looked for and is in order."""
        return self._of("ok")

    @property
    def summary(self) -> str:
        """How many findings of each severity there are, in words."""
        counts = Counter(finding.severity for finding in self.all)
        told = [_counted(counts[name], name, plural) for name, plural in _PLURAL.items()]
        checks = f"{_counted(counts['ok'], 'check', 'checks')} in order"
        return f"{', '.join(told)}; {checks}, {len(self.not_applicable)} not applicable"

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "model": self.model,
            "summary": self.summary,
            "labels": list(self.labels),
            "findings": [asdict(finding) for finding in self.all],
            "not_applicable": dict(self.not_applicable),
        }

    def to_json(self) -> str:
        """Return all of it as JSON, two spaces deep."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def lines(self, *, width: int = 80, every: bool = False) -> Iterator[str]:
        """Yield the lines of a report for a terminal.

        Args:
            width: Longest line, in characters.
            every: Also tell what is in order and what could not be looked at.
        """
        yield from _wrapped(f"{self.model}: {self.summary}", "", width)
        for label in self.labels:
            yield from _wrapped(f"{label[:1].upper()}{label[1:]}.", "", width)
        for finding in self.all:
            if finding.severity != "ok":
                yield ""
                yield from _told(finding, width)
        if every:
            yield from self._rest(width)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{finding.severity}</td><td><b>{escape(finding.sentence)}</b>"
            f"{escape(f' {finding.why}')}</td><td>{escape(finding.next_step)}</td></tr>"
            for finding in self.all
        )
        labels = "".join(f"<p>{escape(label)}</p>" for label in self.labels)
        head = "<tr><th>severity</th><th>finding</th><th>next step</th></tr>"
        title = f"<p>{escape(self.model)}: {self.summary}</p>"
        return f'{title}{labels}<table style="text-align:left">{head}{rows}</table>'

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.all if finding.severity == severity)

    def _rest(self, width: int) -> Iterator[str]:
        """Yield what is in order and what could not be looked at."""
        yield ""
        for finding in self.passed:
            yield from _wrapped(f"{'OK'.ljust(_INDENT)}{finding.sentence}", " " * _INDENT, width)
        for check, reason in self.not_applicable.items():
            yield from _wrapped(f"{'-'.ljust(_INDENT)}{check}: {reason}.", " " * _INDENT, width)


def _told(finding: Finding, width: int) -> Iterator[str]:
    indent = " " * _INDENT
    yield from _wrapped(f"{finding.severity.upper().ljust(_INDENT)}{finding.sentence}", indent, width)
    yield from _wrapped(f"{indent}Why:  {finding.why}", f"{indent}      ", width)
    yield from _wrapped(f"{indent}Next: {finding.next_step}", f"{indent}      ", width)


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    """Return a text in lines, without characters that would move the cursor or color the terminal."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return textwrap.wrap(shown, width, subsequent_indent=indent, break_on_hyphens=False)


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
