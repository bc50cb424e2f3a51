"""One HTML page that asks no other host: text escaped, figures light and dark, drawn when they are seen."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final

from plotly.offline import get_plotlyjs

from clsight.figures import CONFIG

_FOLDER: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""The browser itself refuses whatever would ask another host."""


@dataclass
class Page:
    """A page that grows from top to bottom.

    Attributes:
        title: Of the page, as it is: escaped here, like all text that is added.
        parts: HTML so far.
    """

    title: str
    parts: list[str] = field(default_factory=list)
    _figures: list[str] = field(default_factory=list)

    def add(self, tag: str, text: str, *, name: str = "") -> None:
        """Add text in an element, with a class if given."""
        self.parts.append(element(tag, text, name=name))

    def raw(self, html: str) -> None:
        """Add HTML that is escaped already."""
        self.parts.append(html)

    def figure(self, make: Callable[[bool], Any]) -> None:
        """Add a figure.

        Args:
            make: Returns the plotly figure for a dark page (True) or a light one.
        """
        both = {"light": make(False), "dark": make(True)}
        text = ", ".join(f'"{name}": {figure.to_json()}' for name, figure in both.items())
        name = f"figure-{len(self._figures)}"
        self._figures.append(_data(name, f"{{{text}}}"))
        height = int(both["light"].layout.height or 340)
        self.raw(f'<div class="figure"><div data-figure="{name}" style="height:{height}px"></div></div>')

    def table(self, header: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
        """Add a table that scrolls sideways where it is too wide."""
        head = "".join(element("th", cell) for cell in header)
        body = "".join(_row(row) for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        self.raw(f'<div class="scroll" tabindex="0">{table}</div>')

    def html(self) -> str:
        """Return the whole page."""
        style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
        scripts = f"<script>{get_plotlyjs()}</script><script>{script}</script>" if self._figures else ""
        return (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{style}</style></head>"
            f"<body><main>{''.join(self.parts)}</main>"
            f"{_data('config', json.dumps(CONFIG))}{''.join(self._figures)}{scripts}</body></html>\n"
        )


def element(tag: str, text: str, *, name: str = "") -> str:
    """Return text in an element, escaped."""
    of_class = f' class="{escape(name)}"' if name else ""
    return f"<{tag}{of_class}>{escape(text)}</{tag}>"


def _row(cells: Iterable[str]) -> str:
    first, *others = cells
    return f"<tr>{element('td', first)}{''.join(element('td', cell, name='number') for cell in others)}</tr>"


def _data(name: str, text: str) -> str:
    """Return JSON in an element that no script runs and no text of its own can end."""
    return f'<script type="application/json" id="{name}">{text.replace("<", chr(92) + "u003c")}</script>'
