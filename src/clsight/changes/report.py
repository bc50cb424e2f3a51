"""What changed between two checkpoints: as a table, in sentences, as lines for a terminal, and as JSON."""

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import xarray as xr

from clsight.changes.answers import Answers

_ABSENT: Final = "-"
_COUNTED: Final = ("sample", "layer", "head")
_COLUMNS: Final = {
    "attends_to_distance": "CLS to tokens",
    "between_heads": "two heads of A",
    "attended_by_distance": "tokens to CLS",
    "self_attention_before": "CLS to itself, A",
    "self_attention_after": "B",
}
"""Column of the table over layers, and its heading."""


@dataclass(frozen=True)
class Changes:
    """What changed from a first checkpoint, A, to a second, B.

    Attributes:
        heads: What `head_changes` returns: dims layer, head.
        answers: What became of the answers.
        records: Attributes of both records by `before` and `after`: model, checkpoint_sha256, notes.
    """

    heads: xr.Dataset
    answers: Answers
    records: Mapping[str, Mapping[str, Any]]

    @property
    def moved(self) -> xr.DataArray:
        """Whether a head of A is more like another head of B than like its own: dims layer, head."""
        heads = self.heads
        is_other = (heads["match"] >= 0) & (heads["match"] != heads["head"])
        return (is_other & (heads["match_distance"] < heads["attends_to_distance"])).rename("moved")

    @property
    def sentences(self) -> tuple[str, ...]:
        """What changed most, in words."""
        distances = [
            self.heads[name] for name in _COLUMNS if name.endswith("_distance") and name in self.heads
        ]
        if all(bool((array.fillna(0) == 0).all()) for array in distances):
            return ("Nothing changed in any layer and head.", self.answers.sentence)
        told = (self._most_changed(), self._most_changed_itself(), self._moved_heads(), self.answers.sentence)
        return tuple(sentence for sentence in told if sentence)

    def lines(self, *, width: int = 100) -> Iterator[str]:
        """Yield the lines of a report for a terminal: sentences, a table over layers, one over heads.

        Args:
            width: Longest line of text, in characters; tables may be wider.
        """
        names = [_printable(str(self.records[which].get("model") or "no name")) for which in self.records]
        sizes = {"sample": self.answers.samples, **self.heads.sizes}
        told = ", ".join(f"{sizes[dim]} {dim}{'' if sizes[dim] == 1 else 's'}" for dim in _COUNTED)
        yield from textwrap.wrap(f"A {names[0]}, B {names[1]}: {told}", width)
        for sentence in self.sentences:
            yield from textwrap.wrap(_printable(sentence), width)
        yield ""
        yield "Means over samples and heads; distances are Jensen–Shannon, 0 to 1:"
        yield from _aligned(self._layer_rows())
        yield ""
        yield "Distance of each head's CLS row to itself; → the head of B that it is more like:"
        yield from _aligned(self._head_rows())
        for note in self.notes:
            yield from textwrap.wrap(f"Note: {_printable(note)}", width)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the records should know, each sentence once."""
        told = [str(note) for record in self.records.values() for note in record.get("notes", ())]
        reasons = [record.get("absent", {}).get("attended_by") for record in self.records.values()]
        told += [f"Who attends to CLS is not compared: {reason}" for reason in reasons if reason]
        return tuple(dict.fromkeys(told))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values; what is undefined is None."""
        heads, moved = self.heads, self.moved
        of_head = [name for name, array in heads.data_vars.items() if "head" in array.dims]
        layers = []
        for at, name in enumerate(heads["layer_name"].values):
            here = heads.isel(layer=at)
            each = [
                {"head": int(head)}
                | {str(name): _plain(here[name].isel(head=place).item()) for name in of_head}
                | {"moved": bool(moved.isel(layer=at, head=place))}
                for place, head in enumerate(heads["head"].values)
            ]
            between = _plain(here["between_heads"].item())
            layers.append(
                {"layer": int(here["layer"]), "name": str(name), "between_heads": between, "heads": each}
            )
        models = {
            which: {
                "model": record.get("model", ""),
                "checkpoint_sha256": record.get("checkpoint_sha256", ""),
            }
            for which, record in self.records.items()
        }
        told = {"sentences": list(self.sentences), "answers": asdict(self.answers), "layers": layers}
        return {**models, **told, "notes": list(self.notes)}

    def to_json(self) -> str:
        """Return all of it as JSON, two spaces deep."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _most_changed(self) -> str:
        """Say in which layer, and in which head, what CLS attends to changed most."""
        apart = self.heads["attends_to_distance"]
        if not bool(apart.notnull().any()):
            return ""
        means = apart.mean("head", skipna=True)
        layer, most = _largest(means), _largest(apart)
        value, between = float(means[layer]), float(self.heads["between_heads"].isel(layer=layer["layer"]))
        told = f"What [CLS] attends to changed most in {self._name(layer)}: {value:.3f} on average"
        if math.isfinite(between):
            told += f", where two heads of that layer of A are {between:.3f} apart"
        return f"{told}; the head that changed most is {self._head(most)} ({float(apart[most]):.3f})."

    def _most_changed_itself(self) -> str:
        """Say in which head the attention of CLS to itself changed most."""
        first, second = self.heads["self_attention_before"], self.heads["self_attention_after"]
        most = _largest(abs(second - first))
        here, there = float(first[most]), float(second[most])
        if here == there:
            return ""
        where = self._head(most)
        return f"Attention of [CLS] to itself changed most in {where}: from {here:.3f} to {there:.3f}."

    def _moved_heads(self) -> str:
        count = int(self.moved.sum())
        if not count:
            return ""
        verb = "is" if count == 1 else "are"
        return (
            f"{count} of {self.moved.size} heads of A {verb} more like another head of B than like their own."
        )

    def _name(self, place: Mapping[Any, Any]) -> str:
        return str(self.heads["layer_name"].isel(layer=place["layer"]).item())

    def _head(self, place: Mapping[Any, Any]) -> str:
        return f"head {int(self.heads['head'][place['head']])} of {self._name(place)}"

    def _layer_rows(self) -> Iterator[Sequence[str]]:
        columns = {name: heading for name, heading in _COLUMNS.items() if name in self.heads}
        yield "layer", *columns.values()
        means = self.heads[list(columns)].mean("head", skipna=True)
        for at, name in enumerate(self.heads["layer_name"].values):
            yield _printable(str(name)), *(_number(float(means[column][at])) for column in columns)

    def _head_rows(self) -> Iterator[Sequence[str]]:
        yield "layer", *(f"head {head}" for head in self.heads["head"].values)
        apart, match, moved = self.heads["attends_to_distance"], self.heads["match"], self.moved
        for at, name in enumerate(self.heads["layer_name"].values):
            cells = zip(apart[at].values, match[at].values, moved[at].values, strict=True)
            shown = (f"{_number(value)}{f'→{other}' if is_moved else ''}" for value, other, is_moved in cells)
            yield _printable(str(name)), *shown


def _largest(array: xr.DataArray) -> dict[Any, int]:
    """Return the place of the largest value, NaN never; the first of equal ones."""
    found = array.fillna(-1.0).argmax(...)
    assert isinstance(found, dict)
    return {dim: int(place) for dim, place in found.items()}


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else _ABSENT


def _plain(value: float) -> float | int | None:
    return value if math.isfinite(value) else None


def _printable(text: str) -> str:
    """Return a text without characters that would move the cursor or color the terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _aligned(rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines: the first column to the left, numbers to the right."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *numbers in cells:
        shown = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *shown)).rstrip()
