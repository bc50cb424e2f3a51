"""How far is each head of one checkpoint from the same head of another, and which is it most like now?"""

from typing import Final

import numpy as np
import xarray as xr

from clsight.analysis import cls_self_attention, distance, match_heads
from clsight.schema import Direction

_LABELS: Final = {
    "attends_to_distance": "Jensen–Shannon distance of what CLS attends to",
    "attended_by_distance": "Jensen–Shannon distance of who attends to CLS",
    "self_attention_before": "attention of CLS to itself, before",
    "self_attention_after": "attention of CLS to itself, after",
    "match": "head of the second checkpoint that attends most alike",
    "match_distance": "distance to that head",
    "between_heads": "mean distance between two heads of the layer, before",
}


def head_changes(before: xr.Dataset, after: xr.Dataset) -> xr.Dataset:
    """Return what changed in each head, as means over samples.

    Args:
        before: A plain record.
        after: One of the same inputs, layers and heads.

    Returns:
        Dims layer, head: `attends_to_distance` and `attended_by_distance` (in [0, 1], of a head to itself),
        `self_attention_before` and `self_attention_after` (in [0, 1]), `match` and `match_distance` as
        `clsight.analysis.match_heads` gives them, −1 and NaN in a layer that attends to nothing; dims layer:
        `between_heads`, what a distance compares with, NaN for a single head. NaN where undefined.

    Raises:
        RecordError: If inputs, layers or heads differ.
    """
    told: dict[str, xr.DataArray] = {}
    directions: tuple[Direction, ...] = ("attends_to", "attended_by")
    for direction in directions:
        if direction in before and direction in after:
            apart = distance(before, after, direction=direction)
            told[f"{direction}_distance"] = apart.mean("sample", skipna=True)
    told["self_attention_before"] = cls_self_attention(before).mean("sample")
    told["self_attention_after"] = cls_self_attention(after).mean("sample")
    told |= _matched(before, after, told["attends_to_distance"])
    told["between_heads"] = _between_heads(before)
    labeled = {name: array.drop_attrs().assign_attrs(long_name=_LABELS[name]) for name, array in told.items()}
    return xr.Dataset(labeled).assign_coords(layer_name=before["layer_name"])


def _matched(before: xr.Dataset, after: xr.Dataset, apart: xr.DataArray) -> dict[str, xr.DataArray]:
    """Return for each head the one that it is most like, in layers whose heads all attend to something."""
    defined = apart.notnull().all("head").values
    nothing = xr.full_like(apart, np.nan)
    match, nearest = xr.full_like(apart, -1, dtype=np.int64), nothing
    if defined.any():
        found = match_heads(before.isel(layer=defined), after.isel(layer=defined)).reset_coords(drop=True)
        match = found["match"].reindex_like(apart, fill_value=-1)
        nearest = found["distance"].reindex_like(apart)
    return {"match": match, "match_distance": nearest}


def _between_heads(record: xr.Dataset) -> xr.DataArray:
    """Return the mean distance of two different heads of each layer of one record."""
    heads = record.sizes["head"]
    if heads < 2:
        return xr.full_like(record["layer"], np.nan, dtype=np.float64)
    shifted = [record.roll(head=shift, roll_coords=False) for shift in range(1, heads)]
    apart = xr.concat([distance(record, other) for other in shifted], "shift")
    return apart.mean(["shift", "sample", "head"], skipna=True)
