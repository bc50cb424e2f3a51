"""What do the weights look like: even, all on one token, on special tokens, saturated, without a query?"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import xarray as xr

from clsight.analysis import entropy
from clsight.doctor.examination import Examination, NotApplicableError
from clsight.doctor.findings import Finding, note, ok, warning
from clsight.doctor.registry import check
from clsight.doctor.wording import percent

_EVEN: Final = 0.99
_SINK: Final = 0.9
_SPECIAL: Final = 0.5
_SATURATED: Final = 1.0 - 1e-6
_SPECIAL_KINDS: Final = ("cls", "special", "register", "distillation")


@check(
    asks="Does [CLS] have a query?",
    finds={"warning": "its query is zero in a layer: attention is even by construction"},
)
def query_is_not_zero(examination: Examination) -> Iterator[Finding]:
    """Look for a layer in which the query of [CLS] is zero in all heads."""
    layers = _without_query(examination)
    if not layers:
        yield ok("The query of [CLS] is not zero in any layer.")
        return
    yield warning(
        f"The query of [CLS] is exactly zero in {_named(layers)}: its attention there is exactly even, "
        "1/n for "
        "each token.",
        why="A zero vector times weights without a bias is zero, so [CLS] takes a plain mean of the values.",
        next_step="Give the attention a bias (bias=True), add a position embedding to [CLS], or start it "
        "from "
        "another value.",
    )


@check(
    asks="Does [CLS] choose at all, or is its attention even?",
    finds={
        "warning": "all heads of a layer are within 1 % of the entropy of even attention, ln n",
        "note": "some heads are",
    },
)
def attention_is_not_even(examination: Examination) -> Iterator[Finding]:
    """Compare the entropy of each row with ln n."""
    record = examination.record
    if int(record["token_mask"].sum("token").max()) < 2:
        raise NotApplicableError("there is one token")
    evenness = entropy(record, normalized=True).mean("sample")
    even = evenness >= _EVEN
    without_query = _without_query(examination)
    whole = [name for name in _layers(record, even.all("head")) if name not in without_query]
    if whole:
        yield warning(
            f"The attention of [CLS] is even in all heads of {_named(whole)}: entropy "
            f"{percent(float(evenness.max()), 1)}"
            " of ln n.",
            why="[CLS] takes the mean of all tokens there: the map says nothing about which ones matter.",
            next_step="Check that the weights are trained and loaded, and that scores are not scaled to "
            "nothing.",
        )
    elif bool(even.any()):
        yield note(
            f"The attention of [CLS] is even in {_share(even)} heads (entropy within 1 % of ln n).",
            why="Those heads take the mean of all tokens.",
            next_step="Read other heads first.",
        )
    else:
        yield ok(f"No head of [CLS] is even: entropy at most {percent(float(evenness.max()), 1)} of ln n.")


@check(
    asks="Does one token take nearly all attention?",
    finds={"note": "in some heads one token receives more than 90 % of the attention of all tokens"},
)
def no_sink(examination: Examination) -> Iterator[Finding]:
    """Find the token that receives most, from all queries."""
    record = examination.record
    if "received" not in record:
        raise NotApplicableError("what each token receives is not in the record")
    received = record["received"].mean("sample")
    largest = received.max("token")
    sinks = largest > _SINK
    if not bool(sinks.any()):
        yield ok(f"No token receives more than {percent(float(largest.max()))} of all attention in any head.")
        return
    layer, head, token = _place(received)
    yield note(
        f"A sink: {_token(record, token)} receives {percent(float(received.max()))} of all attention in "
        "layer "
        f"{layer}, "
        f"head {head}; so in {_share(sinks)} heads.",
        why="A head that has nothing to say parks its attention on one token, whose value is often near "
        "zero.",
        next_step="Weigh the map by the values: keep='contributions' in clsight.capture.",
    )


@check(
    asks="Does [CLS] look at the input, or at special tokens?",
    finds={"note": "more than half of its attention in a layer goes to special tokens, itself included"},
)
def looks_at_input(examination: Examination) -> Iterator[Finding]:
    """Add up the weights on [CLS], registers, separators and their like."""
    record = examination.record
    special = sum(record["token_kind"] == kind for kind in _SPECIAL_KINDS) > 0
    share = record["attends_to"].where(special, 0.0).sum("token").mean(["sample", "head"])
    layer = int(share.argmax("layer"))
    told = f"{percent(float(share[layer]))} of the attention of [CLS] in layer {layer} goes to special tokens"
    if float(share[layer]) <= _SPECIAL:
        yield ok(f"At most {told}.")
        return
    yield note(
        f"{told}, itself included; more than half in {int((share > _SPECIAL).sum())} of {share.size} layers.",
        why="What is left for the input is small, and a color scale over all tokens hides it.",
        next_step="Leave special tokens out of the picture, or compare layers where the share is small.",
    )


@check(
    asks="Are the scores in a range where softmax still learns?",
    finds={"warning": "all heads of a layer put everything on one token", "note": "some heads do"},
)
def scores_are_not_saturated(examination: Examination) -> Iterator[Finding]:
    """Find rows whose largest weight is 1 to six digits in every sample."""
    record = examination.record
    if int(record["token_mask"].sum("token").max()) < 2:
        raise NotApplicableError("there is one token")
    saturated = (record["attends_to"].max("token") > _SATURATED).all("sample")
    if not bool(saturated.any()):
        yield ok("No head is saturated: each leaves more than a millionth to other tokens.")
        return
    layers = _layers(record, saturated.all("head"))
    told, where = (
        (warning, f"all heads of {_named(layers)}") if layers else (note, f"{_share(saturated)} heads")
    )
    yield told(
        f"The softmax of [CLS] is saturated in {where}: one token has all but a millionth of the weight, in "
        "every sample.",
        why="Its gradient is then near zero, so training can no longer change where [CLS] looks.",
        next_step="Look for a missing 1/√d in the scores, or weights that grew: norms on query and key help.",
    )


def _without_query(examination: Examination) -> list[str]:
    """Return the layers in which the query of [CLS] is zero in all heads and samples."""
    record = examination.record
    if "query" not in record:
        raise NotApplicableError("the record holds no query")
    return _layers(record, (record["query"] == 0).all(["sample", "head", "head_dim"]))


def _layers(record: xr.Dataset, chosen: xr.DataArray) -> list[str]:
    names = [str(name) for name in record["layer_name"].values]
    return [name for name, is_chosen in zip(names, chosen.values, strict=True) if is_chosen]


def _named(layers: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in layers[:3])
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more"


def _share(chosen: xr.DataArray) -> str:
    return f"{int(chosen.sum())} of {chosen.size}"


def _place(weights: xr.DataArray) -> tuple[int, int, int]:
    """Return layer, head and token of the largest weight."""
    ordered = weights.transpose("layer", "head", "token")
    layer, head, token = np.unravel_index(int(ordered.fillna(-1.0).values.argmax()), ordered.shape)
    return int(layer), int(head), int(token)


def _token(record: xr.Dataset, token: int) -> str:
    """Return a token's text where it is the same in all samples, else its position."""
    texts = {str(text) for text in record["token_text"].values[:, token]}
    return f"`{texts.pop()}`" if len(texts) == 1 else f"position {token}"
