"""Do several heads do the same? Agreement of each pair of heads, and the groups they fall into."""

from typing import Final, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from clsight.analysis.divergence import jensen_shannon
from clsight.analysis.weights import named, shares_of, without_token_labels
from clsight.errors import RecordError, did_you_mean
from clsight.schema import Direction

Linkage = Literal["average", "complete", "single"]
_METHODS: Final[tuple[Linkage, ...]] = ("average", "complete", "single")
_OTHER: Final = {"layer": "other_layer", "head": "other_head"}


def head_agreement(record: xr.Dataset, *, direction: Direction = "attends_to") -> xr.DataArray:
    """Return how alike each pair of heads attends, of all layers, sample by sample.

    It is 1 less the Jensen–Shannon divergence to base 2: 1 for the same weights, 0 where no token is attended
    by both. Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341, there summed over all queries.
    Heads that both spread evenly, or both look at one sink, agree without doing anything alike.

    Args:
        record: A plain or stacked record, or a selection that keeps `token` and `head`.
        direction: `attends_to` (row) or `attended_by` (column, divided by its sum).

    Returns:
        The dims of the record without `token`, then `other_layer` and `other_head`; in [0, 1], symmetric, 1
        on the diagonal. Heads squared numbers per sample. NaN where a head has nothing to share, or not the
        same tokens have a query.

    Raises:
        RecordError: If the record lacks the weights or the mask, or has no `head` dim.
    """
    shares = without_token_labels(shares_of(record, direction, asked_by="head_agreement"))
    if "head" not in shares.dims:
        raise RecordError(
            "head_agreement",
            expected="a record with a `head` dimension",
            got=f"dims ({', '.join(map(str, shares.dims))})",
            next_step="Select one head after this function, not before",
        )
    names = {dim: other for dim, other in _OTHER.items() if dim in shares.dims}
    bare = shares.drop_vars(list(shares.coords))
    agreement = 1 - _each_with(bare, bare.rename(names), list(names))
    ordered = agreement.transpose(*(dim for dim in shares.dims if dim != "token"), *names.values())
    others = {other: shares[dim].values for dim, other in names.items() if dim in shares.coords}
    return named(
        ordered.assign_coords(shares.coords).assign_coords(others),
        "head_agreement",
        long_name="1 − Jensen–Shannon divergence of two heads",
        undefined="a head has nothing to share, or not the same tokens have a query",
    )


def _each_with(shares: xr.DataArray, others: xr.DataArray, dims: list[str]) -> xr.DataArray:
    """Return the divergence of each head to all others, one head at a time to hold few arrays at once."""
    if not dims:
        return jensen_shannon(shares, others)
    dim, *rest = dims
    parts = [_each_with(shares.isel({dim: at}), others, rest) for at in range(shares.sizes[dim])]
    joined: xr.DataArray = xr.concat(parts, dim)
    return joined


def head_clusters(
    record: xr.Dataset,
    count: int = 4,
    *,
    direction: Direction = "attends_to",
    method: Linkage = "average",
) -> xr.Dataset:
    """Return groups of heads that attend alike, by hierarchical clustering of 1 − `head_agreement`.

    Args:
        record: A plain record, or a selection that keeps `token` and `head`.
        count: At most how many groups, from 1 to the number of heads; fewer where distances tie.
        direction: `attends_to` (row) or `attended_by` (column).
        method: How the distance of two groups follows from those of their heads: `average`, `complete`
            (largest) or `single` (smallest). Distances are means over samples.

    Returns:
        `cluster` (layer, head): numbers from 0 in the order of first appearance. `leaf` (layer, head): the
        place in a dendrogram, for sorting. `linkage` (merge, part): scipy's matrix, `first`, `second`,
        `distance`, `size`; heads are numbered layer by layer.

    Raises:
        RecordError: If there are fewer than two heads, `count` or `method` do not fit, the record is stacked,
            or some pair of heads is undefined in every sample.
    """
    if method not in _METHODS:
        raise _refused("a known `method`", repr(method), did_you_mean(str(method), _METHODS))
    apart = 1 - _mean_agreement(record, direction)
    dims = [dim for dim in _OTHER if dim in apart.dims]
    heads = apart.isel({_OTHER[dim]: 0 for dim in dims}, drop=True).transpose(*dims)
    if heads.size < 2:
        raise _refused("two heads or more", f"{heads.size}", "Keep more heads or layers")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= heads.size:
        raise _refused(f"a `count` from 1 to {heads.size}", repr(count), "Ask for no more groups than heads")
    square = apart.transpose(*dims, *(_OTHER[dim] for dim in dims)).values.reshape(heads.size, heads.size)
    merges = linkage(squareform(square, checks=False), method)
    groups = _in_order_of_appearance(fcluster(merges, count, criterion="maxclust"))
    leaf = np.argsort(leaves_list(merges))
    part = ["first", "second", "distance", "size"]
    return xr.Dataset(
        {
            "cluster": heads.copy(data=groups.reshape(heads.shape)).drop_attrs(),
            "leaf": heads.copy(data=leaf.reshape(heads.shape)).drop_attrs(),
            "linkage": (("merge", "part"), merges),
        },
        coords={"part": part},
        attrs={"method": method},
    )


def _mean_agreement(record: xr.Dataset, direction: Direction) -> xr.DataArray:
    """Return the agreement of each pair of heads, mean over samples."""
    agreement = head_agreement(record, direction=direction)
    extra = set(agreement.dims) - {"sample", *_OTHER, *_OTHER.values()}
    if extra:
        dim = min(map(str, extra))
        raise _refused("a plain record", f"a stack along `{dim}`", f"Select one first: record.sel({dim}=...)")
    mean = agreement.mean("sample", skipna=True) if "sample" in agreement.dims else agreement
    if bool(mean.isnull().any()):
        raise _refused(
            "heads whose agreement is defined in at least one sample",
            f"{int(mean.isnull().sum())} of {mean.size} pairs without",
            "Leave out layers that have no such weights: record.isel(layer=...)",
        )
    return mean


def _in_order_of_appearance(numbers: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the same groups, numbered from 0 as they appear."""
    seen = dict.fromkeys(numbers.tolist())
    place = {number: at for at, number in enumerate(seen)}
    return np.array([place[number] for number in numbers.tolist()], dtype=np.int64)


def _refused(expected: str, got: str, next_step: str) -> RecordError:
    return RecordError("head_clusters", expected=expected, got=got, next_step=next_step)
