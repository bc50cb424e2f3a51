"""A record in a few lines of text: what it holds and, layer by layer, what CLS does there on average."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import xarray as xr

from clsight.analysis import MEASURES
from clsight.analysis.weights import weights_of
from clsight.records.checking import STACK_DIMS

_COUNTED: Final = {"sample": "example", "layer": "layer", "head": "head", "token": "token"}
_COLUMNS: Final = {
    "entropy": "entropy (nats)",
    "cls_self_attention": "CLS to itself",
    "mean_attended_by": "others to CLS",
}
_TOP_TOKENS: Final = 3
_LONGEST_TEXT: Final = 16
_ABSENT: Final = "-"


def summary_lines(record: xr.Dataset) -> Iterator[str]:
    """Yield the lines of a terminal summary: one table, or one for each member of a stack.

    Args:
        record: A plain or stacked record, as `clsight.open_record` gives it.

    Raises:
        RecordError: If the record lacks the CLS row or its mask.
    """
    for number, (title, member) in enumerate(_members(record)):
        if number:
            yield ""
        yield from _head(title, member)
        yield from ("", "Mean over examples and heads:")
        yield from _aligned(_table(member))
        yield from note_lines(member)


def note_lines(record: xr.Dataset) -> Iterator[str]:
    """Yield a line for each sentence that a reader of the record should know."""
    for note in record.attrs.get("notes", []):
        yield f"Note: {_printable(note)}"


def counts(record: xr.Dataset) -> str:
    """Return how many examples, layers, heads and tokens a record has, in words."""
    words = ((record.sizes[dim], word) for dim, word in _COUNTED.items())
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in words)


def text_shares(record: xr.Dataset) -> xr.DataArray:
    """Return the share of the CLS row that falls on each token text, mean over samples and heads.

    Tokens of one sample that have the same text count together, so that the shares of a layer sum to 1.

    Args:
        record: A plain record.

    Returns:
        Dims layer and token_text (each text once, sorted); in [0, 1].
    """
    weights = weights_of(record, "attends_to", asked_by="text_shares").mean("head").fillna(0.0)
    texts, place = np.unique(record["token_text"].values.astype(object), return_inverse=True)
    of_token = weights.transpose("sample", "token", "layer").values.reshape(place.size, -1)
    shares = np.zeros((texts.size, record.sizes["layer"]))
    np.add.at(shares, place.ravel(), of_token / record.sizes["sample"])
    return xr.DataArray(
        shares.T, {"layer": record["layer"].values, "token_text": texts}, ("layer", "token_text")
    )


def _members(record: xr.Dataset, title: str = "") -> Iterator[tuple[str, xr.Dataset]]:
    """Yield each plain record inside a stack with its title; a plain record as it is."""
    dim = next((name for name in STACK_DIMS if name in record.dims), None)
    if dim is None:
        yield title, record
        return
    for name in record[dim].values.tolist():
        own = record.attrs.get("members", {}).get(str(name), {})
        member = record.sel({dim: name}, drop=True).assign_attrs(own)
        yield from _members(member, f"{title}{dim} {name}: ")


def _head(title: str, record: xr.Dataset) -> Iterator[str]:
    attributes = record.attrs
    made = [f"strategy {attributes['strategy']}"] if attributes.get("strategy") else []
    made += [f"seed {attributes['seed']}"] if attributes.get("seed") is not None else []
    model = str(attributes.get("model") or "a model without a name")
    yield _printable(title + model + (f" ({', '.join(made)})" if made else ""))
    position = attributes["cls_index"]
    place = "another token in each sample" if position is None else f"token {position}"
    yield f"{counts(record)}; [CLS] is {place}"
    if attributes.get("examples"):
        yield f"The examples are not the model's own: {_printable(str(attributes['examples']))}"
    if bool(record["token_mask"].all()):
        tokens = record.sizes["token"]
        yield f"Evenly spread attention would be {np.log(tokens):.3f} nats, {1 / tokens:.3f} for each token"
    yield _self_check(record)


def _self_check(record: xr.Dataset) -> str:
    """Say how large the self-check error is at most, and where."""
    errors = record.get("attention_error")
    if errors is None or not bool(errors.notnull().any()):
        reason = record.attrs.get("absent", {}).get("attention_error", "the record holds none")
        return f"Largest self-check error: unknown ({_printable(str(reason))})"
    of_layer = errors.max("sample").fillna(-1.0)  # an error is never negative: NaN never wins
    layer = int(of_layer.argmax("layer"))
    name = _printable(str(record["layer_name"].values[layer]))
    return f"Largest self-check error: {float(of_layer[layer]):.1e}, in {name}"


def _table(record: xr.Dataset) -> Iterator[Sequence[str]]:
    """Yield a heading, then a row for each layer."""
    yield "layer", *_COLUMNS.values(), "top tokens"
    columns = [_layer_means(record, name) for name in _COLUMNS]
    shares = text_shares(record)
    for layer, name in enumerate(record["layer_name"].values):
        numbers = (_ABSENT if np.isnan(column[layer]) else f"{column[layer]:.3f}" for column in columns)
        yield _printable(str(name)), *numbers, _top(shares.isel(layer=layer))


def _layer_means(record: xr.Dataset, name: str) -> np.ndarray:
    """Return the mean of a measure for each layer; NaN where the record lacks what the measure needs."""
    measure = MEASURES[name]
    if measure.missing_from(record):
        return np.full(record.sizes["layer"], np.nan)
    means: np.ndarray = measure.function(record).mean(["sample", "head"]).values
    return means


def _top(shares: xr.DataArray) -> str:
    """Return the texts with the largest shares, the largest first."""
    largest = shares.sortby(shares, ascending=False).isel(token_text=slice(0, _TOP_TOKENS))
    texts = largest["token_text"].values
    return ", ".join(
        f"{_short(str(text))} {share:.3f}"
        for text, share in zip(texts, largest.values, strict=True)
        if share > 0
    )


def _short(text: str) -> str:
    shown = _printable(text)
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[: _LONGEST_TEXT - 1]}…"


def _printable(text: str) -> str:
    """Return a text without characters that would move the cursor or color the terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _aligned(rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines: first and last column to the left, numbers to the right."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *numbers, last in cells:
        middle = (number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True))
        yield "  ".join((first.ljust(widths[0]), *middle, last)).rstrip()
