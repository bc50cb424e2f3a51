"""How numbers and tokens are written on a page: units named, the same digits in each place."""

import math

import xarray as xr

_LONGEST_NAME = 80


def percent(share: float) -> str:
    """Return a share in 0 .. 1 as a percentage, such as `42 %`; below 10 % with one decimal.

    Only 0 and 1 themselves are written as 0 % and 100 %.
    """
    if math.isnan(share):
        return "none"
    hundredths = 100 * share
    if 0 < hundredths < 0.05:
        return "< 0.1 %"
    if 99.5 <= hundredths < 100:
        return "> 99 %"
    return f"{hundredths:.0f} %" if hundredths >= 9.95 or hundredths == 0 else f"{hundredths:.1f} %"


def token_name(record: xr.Dataset, position: int) -> str:
    """Return what the token at a position is called in sentences and tables.

    Args:
        record: The record of one example, `sample` already selected.
        position: Index of the token.
    """
    token = record.isel(token=position)
    kind, text = str(token["token_kind"].values), str(token["token_text"].values)
    if kind == "cls":
        return "CLS itself"
    if kind == "patch" and "row" in token.coords:
        return f"patch row {int(token['row'])}, column {int(token['column'])}"
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"
