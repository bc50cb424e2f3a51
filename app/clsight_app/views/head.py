"""The numbers of one head on one example, and what the model answered."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight import analysis
from clsight.analysis.weights import cls_position
from clsight.schema import Direction
from clsight_app.views.wording import percent, token_name


@dataclass(frozen=True)
class NamedNumber:
    """A line of a table: what it is, how much, and the unit or a remark."""

    name: str
    value: str
    remark: str = ""


def head_numbers(record: xr.Dataset, *, layer: int, head: int) -> list[NamedNumber]:
    """Return the numbers of one head: how spread its row is, what it keeps, what it receives.

    Args:
        record: The record of one example.
        layer: Index of the layer.
        head: Index of the head.
    """
    one = record.isel(sample=[0]).sel(layer=[layer], head=[head])
    tokens = int(one["token_mask"].sum())
    lifts = analysis.lift(one).isel(sample=0, layer=0, head=0)
    most = int(lifts.fillna(-1).argmax("token"))
    numbers = [
        NamedNumber("Entropy", f"{analysis.entropy(one).item():.2f}", f"nats, of {np.log(tokens):.2f}"),
        NamedNumber("Effective tokens", f"{analysis.effective_tokens(one).item():.1f}", f"of {tokens}"),
        NamedNumber("CLS to itself", percent(analysis.cls_self_attention(one).item()), "of its attention"),
        NamedNumber(
            "Largest lift", f"{float(lifts[most]):.1f}", f"× even share, {token_name(_example(record), most)}"
        ),
    ]
    if "attended_by" in one:
        received = analysis.mean_attended_by(one).item()
        numbers.append(NamedNumber("Others to CLS", percent(received), "of theirs, on average"))
    return numbers


def top_tokens(
    record: xr.Dataset, *, layer: int, head: int, direction: Direction, count: int = 5
) -> list[NamedNumber]:
    """Return the tokens with the largest weights of one head, the largest first.

    Args:
        record: The record of one example.
        layer: Index of the layer.
        head: Index of the head.
        direction: The row (`attends_to`) or the column (`attended_by`).
        count: How many at most.
    """
    one = record.isel(sample=[0]).sel(layer=[layer], head=[head])
    top = analysis.top_tokens(one, count, direction=direction).isel(sample=0, layer=0, head=0)
    return [
        NamedNumber(token_name(_example(record), int(position)), percent(float(weight)))
        for position, weight in zip(top["position"].values, top["weight"].values, strict=True)
        if position >= 0
    ]


def most_attended(record: xr.Dataset, *, layer: int, head: int) -> int:
    """Return the position of the token that CLS attends to most besides itself; its own if it is alone."""
    one = record.isel(sample=[0]).sel(layer=[layer], head=[head])
    top = analysis.top_tokens(one, 2).isel(sample=0, layer=0, head=0)["position"].values.tolist()
    own = int(cls_position(record, asked_by="most_attended").values.ravel()[0])
    return next((position for position in top if position not in (own, -1)), own)


def answer_sentence(record: xr.Dataset) -> str:
    """Return what the model answers, with its probability, and the true class if it is known.

    Args:
        record: The record of one example.

    Returns:
        Nothing where the model does not classify.
    """
    if "logits" not in record:
        return ""
    chances = probabilities(record)
    best = int(chances.argmax())
    told = f"The model answers {class_name(record, best)} with probability {percent(chances[best])}"
    if "label" not in record.coords:
        return f"{told}."
    label = int(record["label"].isel(sample=0))
    return f"{told}, {'which is right' if label == best else f'but it is {class_name(record, label)}'}."


def class_numbers(record: xr.Dataset, count: int = 5) -> list[NamedNumber]:
    """Return the classes with the largest probabilities, the largest first, with their logits.

    Args:
        record: The record of one example; it has logits.
        count: How many at most.
    """
    chances, logits = probabilities(record), record["logits"].isel(sample=0).values
    return [
        NamedNumber(class_name(record, int(index)), percent(chances[index]), f"logit {logits[index]:.2f}")
        for index in np.argsort(-chances, kind="stable")[:count]
    ]


def probabilities(record: xr.Dataset) -> NDArray[np.float64]:
    """Return the softmax of the logits of the first example, [class], sums to 1."""
    logits = record["logits"].isel(sample=0).values.astype(np.float64)
    raised = np.exp(logits - logits.max())
    chances: NDArray[np.float64] = raised / raised.sum()
    return chances


def class_name(record: xr.Dataset, index: int) -> str:
    """Return the name of a class, its number where the record has no name for it."""
    names = record["class_name"].values if "class_name" in record.coords else ()
    return str(names[index]) if index < len(names) else str(index)


def _example(record: xr.Dataset) -> xr.Dataset:
    return record.isel(sample=0)
