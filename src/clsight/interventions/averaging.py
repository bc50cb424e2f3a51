"""What a model that draws at random gives, over draws: means and spread, all passes of a draw alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError
from clsight.interventions.draws import check_draws, seeds_of, spread_notes
from clsight.interventions.opening import Opened
from clsight.interventions.results import variables_of


def over_draws(
    opening: Callable[..., Opened],
    measured: Callable[[Opened], xr.Dataset],
    *,
    draws: int,
    seed: int,
    of_class: bool = False,
) -> xr.Dataset:
    """Return what is measured of a model, averaged over draws if it draws at random.

    Args:
        opening: From `seed=`, the start of all random streams, to the opened model.
        measured: From that to the result of one draw.
        draws: How many.
        seed: Start of the random streams in the first draw.
        of_class: Whether the result explains a class: the one predicted over all draws, if none is named.

    Returns:
        The result of one draw where the model draws nothing; else means, with their spread as `…_std`.
        Attributes in which draws differ are lists, one entry per draw.

    Raises:
        CaptureError: If draws or seed are none; what opening and measuring raise.
    """
    check_draws(draws, seed)
    opened = opening(seed=seed)
    has_drawn = opened.has_drawn
    seeds = seeds_of(draws, seed, has_drawn=has_drawn)
    predicted = _predicted(opened, seeds) if of_class and len(seeds) > 1 else None
    results = []
    for one in seeds:
        opened = opened if one == seed else opening(seed=one)
        opened.predicted = predicted
        results.append(measured(opened))
    variables, absent = _averaged(results, has_drawn=has_drawn)
    about = {**_attributes(results), "draws": len(seeds), "draw_seed": seed, "absent": absent}
    about["notes"] = [*spread_notes(seeds), *_notes(results, seeds)]
    return xr.Dataset(variables, coords=results[0].coords, attrs=about)


def _predicted(opened: Opened, seeds: Sequence[int]) -> Tensor | None:
    """Return the class of the largest mean probability over draws, `[sample]`; None without logits."""
    if opened.logits is None:
        return None
    logits: list[Tensor | None] = [opened.logits]
    with torch.no_grad():
        logits += [opened.logits_in(opened.run(seed=seed)) for seed in seeds[1:]]
    chances = [torch.softmax(one.detach().double(), dim=1) for one in logits if one is not None]
    return torch.stack(chances).mean(0).argmax(1)


def _averaged(results: Sequence[xr.Dataset], *, has_drawn: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return variables of the results of all draws as one, and which are absent, with the reasons."""
    variables: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for name, array in results[0].data_vars.items():
        arrays = [one[name] for one in results]
        if array.dtype.kind != "f":
            variables[str(name)] = array
            continue
        _check_alike(arrays)
        drawn = {str(name): np.stack([one.values for one in arrays])}
        words = {str(name): (array.attrs["long_name"], array.attrs["units"])}
        found, lacking = variables_of(drawn, tuple(map(str, array.dims)), words, has_drawn=has_drawn)
        dims, mean, _ = found[str(name)]
        variables |= {**found, str(name): (dims, mean, _words_of(arrays))}
        absent |= lacking
    return variables, absent


def _check_alike(arrays: Sequence[xr.DataArray]) -> None:
    """Refuse draws that speak of different things."""
    for array in arrays[1:]:
        for dim, index in arrays[0].indexes.items():
            if not index.equals(array.indexes[dim]):
                raise CaptureError(
                    str(array.name),
                    expected=f"the same `{dim}` in every draw",
                    got=f"{index.tolist()} in one and {array.indexes[dim].tolist()} in another",
                    next_step="Look at one draw: pass draws=1",
                )


def _words_of(arrays: Sequence[xr.DataArray]) -> dict[str, Any]:
    """Return the attributes of an array, with the reasons of all draws why an entry is NaN."""
    reasons = dict.fromkeys(array.attrs["reason"] for array in arrays if "reason" in array.attrs)
    return {**arrays[0].attrs, **({"reason": "; ".join(reasons)} if reasons else {})}


def _attributes(results: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return the attributes of results: what all share, and lists of what differs."""
    return {str(key): _one_or_all([one.attrs[key] for one in results]) for key in results[0].attrs}


def _one_or_all(values: list[Any]) -> Any:
    """Return what all values are, or all of them, of mappings key by key."""
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, Mapping) and value.keys() == values[0].keys() for value in values):
        return {key: _one_or_all([value[key] for value in values]) for key in values[0]}
    return values


def _notes(results: Sequence[xr.Dataset], seeds: Sequence[int]) -> list[str]:
    """Return the notes of all draws; one that not all share says of which draw it is."""
    of_draws = [one.attrs["notes"] for one in results]
    shared = [note for note in of_draws[0] if all(note in notes for notes in of_draws)]
    own = [
        f"In the draw from seed {seed}: {note}"
        for seed, notes in zip(seeds, of_draws, strict=True)
        for note in notes
        if note not in shared
    ]
    return [*shared, *own]
