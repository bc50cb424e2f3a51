"""Where do the CLS queries of many samples lie among the keys? Both on one plane, for one head."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clsight.errors import RecordError
from clsight.records.checking import need

_FEWEST = 3


def joint_map(record: xr.Dataset, *, most: int = 1500, seed: int = 0) -> xr.Dataset:
    """Return CLS queries and token keys of one head as points of one plane, by principal components.

    Before that, keys are moved so that their mean is that of the queries, and queries are multiplied and keys
    divided by one number, so that both spread alike. Neither changes a weight: moving all keys adds the same
    to each score of a query, and the products stay (Yeh et al. 2023, AttentionViz, arXiv 2305.03210).
    Distance in the plane is not the score: look at directions, and at what `explained` leaves out.

    Args:
        record: A selection with one `layer` and one `head`, kept with "keys_values".
        most: The most queries, and the most keys, that are kept; drawn at random from all real tokens.
        seed: Of that draw.

    Returns:
        `x` and `y` (point), float64; coordinates `kind` ("query" or "key"), `sample` (label), `token`
        (position of the key, that of CLS for a query). `attrs["explained"]`: the share of the variance that
        each axis shows.

    Raises:
        RecordError: If `query`, `keys` or the mask is missing, a dim is left, or there are under 3 points.
    """
    query, keys, mask = (need(record, name, asked_by="joint_map") for name in ("query", "keys", "token_mask"))
    _check_one_head(query)
    draw = np.random.default_rng(seed)
    samples, tokens = np.nonzero(mask.transpose("sample", "token").values)
    kept = _drawn(draw, len(samples), most)
    samples, tokens = samples[kept], tokens[kept]
    asked = _drawn(draw, query.sizes["sample"], most)
    queries = query.transpose("sample", ...).values.astype(np.float64)[asked]
    found = keys.transpose("sample", "token", ...).values.astype(np.float64)[samples, tokens]
    points, explained = _on_plane(np.concatenate(_side_by_side(queries, found)))
    cls = np.broadcast_to(np.asarray(record.attrs.get("cls_index", 0)), query.sizes["sample"])
    if "cls_position" in record.variables:
        cls = record["cls_position"].values
    labels = record["sample"].values if "sample" in record.coords else np.arange(query.sizes["sample"])
    kind = np.array(["query"] * len(asked) + ["key"] * len(kept), dtype=np.dtypes.StringDType())
    return xr.Dataset(
        {"x": ("point", points[:, 0]), "y": ("point", points[:, 1])},
        coords={
            "kind": ("point", kind),
            "sample": ("point", np.concatenate([labels[asked], labels[samples]])),
            "token": ("point", np.concatenate([cls[asked], tokens])),
        },
        attrs={"explained": explained},
    )


def _check_one_head(query: xr.DataArray) -> None:
    left = [f"{dim}={query.sizes[dim]}" for dim in query.dims if dim not in ("sample", "head_dim")]
    if left:
        raise RecordError(
            "joint_map",
            expected="one layer and one head",
            got=", ".join(left),
            next_step="Select first: record.sel(layer=0, head=0)",
        )


def _drawn(draw: np.random.Generator, count: int, most: int) -> NDArray[np.int64]:
    """Return at most so many of `count` positions, in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(draw.choice(count, most, replace=False))


def _side_by_side(
    queries: NDArray[np.float64], keys: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return queries and keys with one mean and one spread, every weight as it was."""
    spread = [np.sqrt(((cloud - cloud.mean(0)) ** 2).sum(1).mean()) for cloud in (queries, keys)]
    factor = np.sqrt(spread[1] / spread[0]) if min(spread) > 0 else 1.0
    scaled = queries * factor
    return scaled, (keys - keys.mean(0)) / factor + scaled.mean(0)


def _on_plane(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[float]]:
    """Return the first two principal components, each with its largest loading positive, and their shares."""
    if len(points) < _FEWEST:
        raise RecordError(
            "joint_map",
            expected=f"at least {_FEWEST} queries and keys",
            got=str(len(points)),
            next_step="Give a record of more samples or tokens",
        )
    centered = points - points.mean(0)
    _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    total = float((sizes**2).sum())
    shares = sizes**2 / total if total > 0 else np.zeros_like(sizes)
    plane = np.zeros((len(points), 2))
    there = min(2, len(axes))
    plane[:, :there] = centered @ axes[:there].T
    return plane, [float(share) for share in np.append(shares, [0.0, 0.0])[:2]]
