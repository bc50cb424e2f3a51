"""Attributions per token as they come in: checked, told which tokens they rank, and in which order.

What ranks are words, patches and steps. [CLS], registers, distillation and special tokens are never removed,
and neither is padding: without them a readout would be destroyed, not an explanation tested.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import rankdata

from clsight.errors import RecordError
from clsight.schema import TOKEN_KINDS

REMOVABLE: Final = ("word", "patch", "step")
"""The kinds of tokens that are ranked and removed."""

PER_TOKEN: Final = ("sample", "token")
Text = np.dtypes.StringDType()
Kinds = NDArray[Any]
"""`[sample, token]`, each one of `clsight.schema.TOKEN_KINDS`."""
Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]


def per_token(array: Any, name: str, *, asked_by: str) -> xr.DataArray:
    """Return an array of real numbers or booleans with its dims in the order sample, token.

    Raises:
        RecordError: If it is no such array.
    """
    dims = tuple(array.dims) if isinstance(array, xr.DataArray) else ()
    if sorted(map(str, dims)) != sorted(PER_TOKEN) or array.dtype.kind not in "biuf":
        got = f"dims ({', '.join(map(str, dims))}) of {array.dtype}" if dims else f"a {type(array).__name__}"
        raise RecordError(
            asked_by,
            expected=f"`{name}` as an xarray.DataArray of numbers with the dims (sample, token)",
            got=got,
            next_step='Choose a layer and average over heads first: measure.isel(layer=-1).mean("head")',
        )
    ordered: xr.DataArray = array.transpose(*PER_TOKEN)
    return ordered


def kinds_of(
    attribution: xr.DataArray, token_kind: Any = None, *, asked_by: str, sizes: tuple[int, int] | None = None
) -> Kinds:
    """Return the kind of each token, stated or from the attribution's own coordinate.

    Args:
        attribution: `[sample, token]`, as `per_token` returns it.
        token_kind: `[sample, token]`, or None to read the coordinate `token_kind`.
        asked_by: The function that asks; the subject of messages.
        sizes: Of `[sample, token]`; by default those of the attribution.

    Raises:
        RecordError: If it is not known, does not fit, or there is an unknown kind.
    """
    stated = attribution.coords.get("token_kind") if token_kind is None else token_kind
    if stated is None:
        raise RecordError(
            asked_by,
            expected="tokens of known kind, so that special tokens are left out",
            got="an attribution without the coordinate `token_kind`",
            next_step="Use a measure of a record, which has it, or pass token_kind=",
        )
    return checked_kinds(stated, sizes or (attribution.shape[0], attribution.shape[1]), asked_by=asked_by)


def checked_kinds(stated: Any, sizes: tuple[int, ...] | None, *, asked_by: str) -> Kinds:
    """Return kinds of tokens as an array `[sample, token]`, of any sizes if None are given.

    Raises:
        RecordError: If the sizes differ, or there is an unknown kind.
    """
    if isinstance(stated, xr.DataArray):
        stated = stated.transpose(*(dim for dim in PER_TOKEN if dim in stated.dims)).values
    kinds: Kinds = np.asarray(stated, dtype=Text)
    unknown = sorted(set(kinds.ravel().tolist()) - set(TOKEN_KINDS))
    if unknown or kinds.ndim != 2 or kinds.shape != (sizes or kinds.shape):
        shape = f"sample={sizes[0]}, token={sizes[1]}" if sizes else "sample, token"
        raise RecordError(
            asked_by,
            expected=f"`token_kind` of shape ({shape}), of {', '.join(TOKEN_KINDS)}",
            got=repr(unknown[0]) if unknown else f"shape {kinds.shape}",
            next_step="State the kind of every token that the encoder sees, [CLS] included",
        )
    return kinds


def removable_in(kinds: Kinds) -> Flags:
    """Return which tokens may be removed, `[sample, token]`."""
    removable: Flags = np.isin(kinds, np.array(REMOVABLE, dtype=Text))
    return removable


def fitted(array: xr.DataArray, sizes: tuple[int, int], name: str, *, asked_by: str) -> xr.DataArray:
    """Return an array `[sample, token]` that has as many tokens as a batch, cut where it says nothing.

    Batches of text are padded to their own longest sample: what an array for all samples holds behind that
    must be 0, False or NaN.

    Raises:
        RecordError: If it has other samples, fewer tokens, or values behind the end.
    """
    samples, tokens = sizes
    beyond = array.isel(token=slice(tokens, None)).fillna(0) if array.sizes["token"] > tokens else None
    if array.shape[0] != samples or array.shape[1] < tokens or (beyond is not None and bool(beyond.any())):
        raise RecordError(
            asked_by,
            expected=f"`{name}` of sample={samples}, token={tokens}, the sequence that the encoder sees",
            got=f"sample={array.shape[0]}, token={array.shape[1]}",
            next_step="Compute it for these inputs, [CLS] and padding included",
        )
    return array.isel(token=slice(0, tokens))


def reasons_against(attribution: Scores, removable: Flags, *, least: int = 2) -> list[str]:
    """Return per sample why an attribution does not rank its tokens; empty where it does.

    Args:
        attribution: `[sample, token]`.
        removable: `[sample, token]`, the tokens that are ranked.
        least: How many tokens a ranking needs.
    """
    return [_reason(scores[there], least=least) for scores, there in zip(attribution, removable, strict=True)]


def _reason(scores: Scores, *, least: int) -> str:
    missing = int(np.isnan(scores).sum())
    if len(scores) < least:
        return f"{len(scores) or 'no'} token{'' if len(scores) == 1 else 's'} may be removed: nothing to rank"
    if missing:
        return f"the attribution is NaN at {missing} of {len(scores)} tokens"
    if (scores == scores[0]).all():
        return f"the attribution is the same at all {len(scores)} tokens: it ranks nothing"
    return ""


def places_of(attribution: Scores, removable: Flags) -> Scores:
    """Return the place of each token in the ranking, `[sample, token]`: 1 is the highest, NaN is not ranked.

    Of equal scores the earlier token comes first, in every run and on every machine.
    """
    places: Scores = rankdata(
        np.where(removable, -attribution, np.nan), method="ordinal", axis=1, nan_policy="omit"
    )
    return places


def counts_at(steps: int, removable: Flags) -> NDArray[np.int64]:
    """Return how many tokens 0, 1, …, `steps` equal parts are, rounded up, `[sample, fraction]`."""
    tokens = removable.sum(1, dtype=np.int64)[:, None]
    counts: NDArray[np.int64] = -(-np.arange(steps + 1) * tokens // steps)
    return counts


def random_scores(removable: Flags, seed: int, *, first_sample: int = 0) -> Scores:
    """Return uniform random scores `[sample, token]`, drawn for each sample on its own.

    Args:
        removable: `[sample, token]`, the tokens that are ranked.
        seed: Of the ranking.
        first_sample: Number of the first sample, so that batches draw what the whole would.
    """
    scores = np.full(removable.shape, np.nan)
    for sample, there in enumerate(removable):
        generator = np.random.default_rng([seed, first_sample + sample])
        scores[sample, there] = generator.random(int(there.sum()))
    return scores


def scored(
    values: Sequence[float] | NDArray[Any],
    reasons: Sequence[str],
    name: str,
    *,
    coords: dict[str, Any],
    units: str = "",
) -> xr.DataArray:
    """Return a score per sample: NaN where there is a reason, which stands in the coordinate `reason`."""
    told = np.array(reasons, dtype=Text)
    numbers = np.where(told == "", np.asarray(values, dtype=np.float64), np.nan)
    return xr.DataArray(
        numbers,
        dims="sample",
        coords={**coords, "reason": ("sample", told)},
        name=name,
        attrs={"long_name": name.replace("_", " "), "units": units},
    )


def sample_coords(array: xr.DataArray | xr.Dataset) -> dict[str, Any]:
    """Return the coordinates that only depend on the sample, `reason` left out."""
    return {
        str(name): coord
        for name, coord in array.coords.items()
        if set(coord.dims) <= {"sample"} and name != "reason"
    }
