"""What CLS does in this model on this example, in one sentence made of measured numbers."""

import numpy as np
import xarray as xr

from clsight import analysis
from clsight_app.views.wording import percent


def cls_sentence(record: xr.Dataset) -> str:
    """Return what CLS gives itself, what the others give it, and where it is most focused.

    Shares are means over heads, in the layer where they are largest.

    Args:
        record: A record; its first example is told.
    """
    return f"{_not_cls(record)}{_to_itself(record)}; {_from_others(record)}{_focus(record)}."


def uniform_share(record: xr.Dataset) -> float:
    """Return 1/n, the weight of each of the n real tokens if attention were even."""
    return 1.0 / int(record["token_mask"].isel(sample=0).sum())


def self_check(record: xr.Dataset) -> str:
    """Return the largest self-check error over layers, or why there is none.

    Args:
        record: A record; its first example is told.
    """
    errors = record.get("attention_error")
    if errors is None or bool(errors.isel(sample=0).isnull().all()):
        reason = record.attrs.get("absent", {}).get("attention_error", "the record holds no error")
        return f"Self-check: not made ({reason})."
    largest = float(errors.isel(sample=0).max("layer"))
    return (
        f"Self-check: the weights shown give the model's own attention output back, to within {largest:.0e}."
    )


def _not_cls(record: xr.Dataset) -> str:
    """Return a sentence, with a space behind it, where an ordinary token stands in the place of CLS."""
    first = record.isel(sample=0)
    token = first.isel(token=int(first.get("cls_position", record.attrs.get("cls_index", 0))))
    if "token_kind" not in token.coords or str(token["token_kind"].values) == "cls":
        return ""
    return f"An ordinary token, {token['token_text'].values}, is looked at in place of CLS. "


def _to_itself(record: xr.Dataset) -> str:
    shares = analysis.cls_self_attention(record).isel(sample=0).mean("head")
    layer, share = _largest(shares)
    return (
        f"CLS gives {percent(share)} of its attention to itself in layer {layer} "
        f"(an even share is {percent(uniform_share(record))})"
    )


def _from_others(record: xr.Dataset) -> str:
    if "attended_by" not in record:
        return "what the other tokens give it is not in the record"
    layer, share = _largest(analysis.mean_attended_by(record).isel(sample=0).mean("head"))
    return f"the other tokens give it {percent(share)} of theirs in layer {layer}"


def _focus(record: xr.Dataset) -> str:
    effective = analysis.effective_tokens(record).isel(sample=0)
    place = np.unravel_index(int(np.argmin(effective.values)), effective.shape)
    at = effective[dict(zip(effective.dims, place, strict=True))]
    tokens = int(record["token_mask"].isel(sample=0).sum())
    return (
        f"; its most focused head is layer {int(at['layer'])}, head {int(at['head'])}, "
        f"which looks at {float(at):.1f} of {tokens} tokens"
    )


def _largest(of_layer: xr.DataArray) -> tuple[int, float]:
    """Return the layer with the largest value, and that value."""
    at = of_layer.isel(layer=int(of_layer.argmax("layer")))
    return int(at["layer"]), float(at)
