"""The passes of a knockout: one untouched per draw, and one per flavor and cell in which a path is cut."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from clsight.errors import CaptureError
from clsight.hooks.operations import AttentionCall
from clsight.interventions.cuts import FROM_OTHERS, Tokens, cut, kept_values, stand_in
from clsight.interventions.draws import check_same
from clsight.interventions.effects import absent_effects, effects_of
from clsight.interventions.passes import Answer, Passes
from clsight.interventions.plan import Site

Effects = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Cell:
    """What is cut in one pass: some heads of some layers."""

    sites: tuple[Site, ...]
    heads: tuple[int, ...]


def cells_of(sites: Sequence[Site], heads: Sequence[int], dims: tuple[str, ...]) -> Iterator[Cell]:
    """Yield the cells that have these dims, in the order of their arrays."""
    if dims == ():
        yield Cell(tuple(sites), tuple(heads))
        return
    for site in sites:
        for group in [(head,) for head in heads] if "head" in dims else [tuple(heads)]:
            yield Cell((site,), group)


class Knocking:
    """Cut one path of a surveyed model.

    Args:
        passes: The model, entered.
        path: One of `PATHS`.
        flavors: Some of `FLAVORS`.
        seed: Start of the random streams of the survey.

    Attributes:
        plan: What the survey found.
        absent: Effects that the answers do not tell, with the reasons.

    Raises:
        CaptureError: If the model cannot be captured, or the path or a flavor is not defined for it.
    """

    def __init__(self, passes: Passes, path: str, flavors: Sequence[str], *, seed: int) -> None:
        self._passes, self._path, self._flavors = passes, path, flavors
        self.plan, self._surveyed = passes.survey(seed)
        self._seed = seed
        self._tokens = Tokens(self.plan.position, self.plan.is_cls, self.plan.token_mask)
        self._alike: list[str] = []
        self.absent = absent_effects(self._surveyed)
        self._check()

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the numbers."""
        alone = (~self._has_edge).nonzero()[:, 0].tolist()
        notes = [f"Samples {alone} hold no token but CLS, so nothing is cut in them: NaN"] if alone else []
        if self._alike:
            flavors = " and ".join(flavor for flavor in self._flavors if flavor in FROM_OTHERS)
            names = ", ".join(f"`{name}`" for name in self._alike)
            notes.append(f"CLS has the same value in all samples in {names}: {flavors} change nothing there")
        return notes

    def effects(self, seed: int, cells: Sequence[Cell], bar: "tqdm[None]") -> Effects:
        """Return the effects of one draw, each `[flavor, cell, sample]`.

        Args:
            seed: Start of the random streams.
            cells: What is cut, pass by pass.
            bar: Told of each pass.
        """
        values: dict[int, Tensor] = {}
        places = {site.place for cell in cells for site in cell.sites}
        clean = self._passes.run(seed, partial(self._keep, values, places))
        if seed == self._seed:
            check_same(self.plan.record.attrs["model"], self._surveyed, clean)
            self._alike = self._layers_alike(values)
        found = []
        for flavor in self._flavors:
            for cell in cells:
                found.append(self._effect(seed, flavor, cell, values, clean))
                bar.update()
        shape = (len(self._flavors), len(cells), -1)
        return {name: np.stack([one[name] for one in found]).reshape(shape) for name in found[0]}

    @property
    def _has_edge(self) -> Tensor:
        """Whether there is anything to cut, `[sample]`."""
        return self._tokens.is_other.any(1) | (self._path == "self")

    def _effect(
        self, seed: int, flavor: str, cell: Cell, values: dict[int, Tensor], clean: Answer
    ) -> Effects:
        """Return the effects of one pass, each `[sample]`."""
        sites = {site.place for site in cell.sites}

        def listener(place: int, call: AttentionCall) -> Tensor | None:
            if place not in sites:
                return None
            instead = None if flavor == "mask" else self._instead(flavor, call, values.get(place))
            return cut(call, self._tokens, self._path, cell.heads, instead)

        effects = effects_of(clean, self._passes.run(seed, listener))
        has_edge = self._has_edge.cpu().numpy()
        return {
            name: np.where(has_edge, effect, np.nan)
            for name, effect in effects.items()
            if name not in self.absent
        }

    def _instead(self, flavor: str, call: AttentionCall, values: Tensor | None) -> Tensor:
        if values is None:  # kept for the flavors that need them
            return torch.zeros(1, call.heads, 1, 1, dtype=call.dtype, device=call.query.device)
        return stand_in(values, self._tokens, self._path, flavor)

    def _keep(self, values: dict[int, Tensor], places: set[int], place: int, call: AttentionCall) -> None:
        if place in places and FROM_OTHERS & set(self._flavors):
            values[place] = kept_values(call, self._tokens, self._path)

    def _layers_alike(self, values: dict[int, Tensor]) -> list[str]:
        """Return the layers in which CLS has one value, as where a constant CLS enters the model."""
        if self._path == "row":
            return []
        alike = [place for place, value in values.items() if bool((value == value[:1]).all())]
        return [site.name for site in self.plan.sites if site.place in alike]

    def _check(self) -> None:
        """Refuse a path or a flavor that says nothing of this model and batch."""
        plan, model = self.plan, self.plan.record.attrs["model"]
        if plan.is_class_attention and self._path == "column":
            raise CaptureError(
                model,
                expected="a layer in which other tokens ask CLS",
                got="class attention, in which CLS alone asks",
                next_step="Cut path='row' or path='self'",
            )
        if len(plan.token_mask) == 1:
            for flavor in [flavor for flavor in self._flavors if flavor in FROM_OTHERS]:
                raise CaptureError(
                    "inputs",
                    expected=f"two samples or more for flavor {flavor!r}, which takes values from another",
                    got="one",
                    next_step="Pass more samples, or flavors=('mask', 'zero')",
                )
        if not bool(self._has_edge.any()):
            raise CaptureError(
                "inputs",
                expected=f"a token beside CLS for path={self._path!r}",
                got="samples that hold CLS alone",
                next_step="Pass longer inputs, or cut path='self'",
            )
