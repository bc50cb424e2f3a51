"""The arms of a study: every combination of settings that its blocks ask for."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clsight.errors import StudyError, did_you_mean
from clsight.study.run_settings import RunSettings
from clsight.study.setting_checks import check_setting_names, check_settings
from clsight.study.toml_tables import Table

PRODUCT: Final = "product"
ONE_AT_A_TIME: Final = "one at a time"
DESIGNS: Final = (PRODUCT, ONE_AT_A_TIME)
_KNOWN: Final = ("name", "design", "base", "vary", "seeds", "tune")
_NAMED: Final = ("task", "task_options", "strategy", "strategy_options")


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a study file calls by a name of its own.

    Attributes:
        base: Settings of every run, unless something below says otherwise.
        task: For each name, the settings that go with it, `task` among them.
        strategy: For each name, `strategy` and perhaps `strategy_options`.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    strategy: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ in their seed alone.

    Attributes:
        block: Name of the block that asks for it.
        labels: What the block varies, as the file says it: tells the arm from the others of its block.
        settings: Of a run; its seed is a placeholder, and so is its learning rate if `tuned`.
        seeds: Of its runs.
        tuned: Whether the learning rate is chosen on validation data.
    """

    block: str
    labels: Mapping[str, Any]
    settings: RunSettings
    seeds: tuple[int, ...]
    tuned: bool


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a study: settings, and lists of values to vary.

    Attributes:
        name: Of the block, different from all others.
        design: `product` (every combination) or `one at a time` (one change from `base` at most, crossed
            with every strategy).
        base: Settings of its runs, over those of the study.
        vary: For each setting the values, in the order of the file.
        seeds: Of its runs.
        tune: Whether learning rates are chosen on validation data.
    """

    name: str
    design: str
    base: Mapping[str, Any]
    vary: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    tune: bool

    def arms(self, names: Names) -> list[Arm]:
        """Return every arm once, strategies fastest.

        Raises:
            StudyError: If settings of one cannot be run.
        """
        arms: list[Arm] = []
        for labels in self._labels(names):
            settings = _settings(names, self.base, labels, self.place)
            if all(arm.settings != settings for arm in arms):
                check_settings(settings, self.place)
                shown = {name: labels[name] for name in self.vary}
                found = Arm(
                    block=self.name, labels=shown, settings=settings, seeds=self.seeds, tuned=self.tune
                )
                arms.append(found)
        return arms

    @property
    def place(self) -> str:
        """Where the block stands, for messages."""
        return f"[[block]] {self.name}"

    def _labels(self, names: Names) -> Iterator[dict[str, Any]]:
        """Yield the values of all that is varied, with those of the base where nothing changes."""
        usual = RunSettings(task="").to_dict()
        start = {**usual, **names.base, **self.base}
        start = {name: start[name] for name in self.vary}
        strategies = self.vary.get("strategy")
        others = {name: values for name, values in self.vary.items() if name != "strategy"}
        if self.design == PRODUCT:
            changes = [
                dict(zip(others, combination, strict=True))
                for combination in itertools.product(*others.values())
            ]
        else:
            changes = [{}, *({name: value} for name, values in others.items() for value in values)]
        for change in changes:
            for strategy in strategies or (None,):
                yield {**start, **change, **({} if strategy is None else {"strategy": strategy})}


def block_of(values: Mapping[str, Any], number: int, seeds: tuple[int, ...], *, tune: bool) -> Block:
    """Return the block that a table of a study file describes.

    Args:
        values: The table.
        number: Of the block in the file, from 1.
        seeds: Of the study, where the block has none of its own.
        tune: Whether the study tunes learning rates, where the block does not say.

    Raises:
        StudyError: If a name is unknown or a value is not as it should be.
    """
    table = Table(values, f"[[block]] {number}", _KNOWN)
    name = table.take("name", "text")
    table.place = f"[[block]] {name}"
    base, vary = table.take("base", "a table", {}), table.take("vary", "a table", {})
    design = table.take("design", "text", PRODUCT)
    if design not in DESIGNS:
        step = did_you_mean(design, DESIGNS)
        raise table.error("design", expected="a known design", got=repr(design), next_step=step)
    check_setting_names(base, f"`base` of {table.place}")
    check_setting_names(vary, f"`vary` of {table.place}")
    for setting, listed in vary.items():
        _check_values(table, setting, listed)
    tuned = table.take("tune", "true or false", tune)
    if tuned and "learning_rate" in vary:
        step = "Set `tune = false` in the block, or leave the rates to [tuning]"
        raise table.error("learning_rate", expected="tuned or varied", got="both", next_step=step)
    return Block(
        name=name,
        design=design,
        base=base,
        vary={setting: tuple(listed) for setting, listed in vary.items()},
        seeds=seeds_of(table, seeds),
        tune=tuned,
    )


def seeds_of(table: Table, default: tuple[int, ...] | None = None, *, start: int = 0) -> tuple[int, ...]:
    """Return the seeds a table asks for: so many from `start` on, or those listed.

    Raises:
        StudyError: If there is none, or one twice.
    """
    kind = "a whole number, or a list of them"
    asked = table.take("seeds", kind) if default is None else table.take("seeds", kind, default)
    seeds = tuple(range(start, start + asked)) if isinstance(asked, int) else tuple(asked)
    if not seeds or len(set(seeds)) < len(seeds):
        got = "none" if not seeds else "one twice"
        raise table.error("seeds", expected="different seeds", got=got, next_step="Give a number of seeds")
    return seeds


def _check_values(table: Table, setting: str, listed: Any) -> None:
    if not isinstance(listed, list) or not listed or any(listed.count(value) > 1 for value in listed):
        raise table.error(
            setting,
            expected="a list of different values to vary",
            got=repr(listed),
            next_step=f"Write `{setting} = [...]`, or put a single value into `base`",
        )


def _settings(names: Names, base: Mapping[str, Any], labels: Mapping[str, Any], place: str) -> RunSettings:
    """Return the settings of an arm: the more particular place in the file wins."""
    said = {**names.base, **base, **labels}
    if "task" not in said:
        step = "Set `task` in [base], or in `base` or `vary` of the block"
        raise StudyError("task", expected="a task", got="none", where=f"In {place}", next_step=step)
    meant: dict[str, Any] = {}
    for kind, called in (("task", names.task), ("strategy", names.strategy)):
        label = said.get(kind, RunSettings(task="").strategy)
        meant |= _meant(kind, label, called, (names.base, base, labels))
    usual, particular = (
        {name: value for name, value in level.items() if name not in _NAMED}
        for level in (names.base, {**base, **labels})
    )
    return RunSettings.from_dict({**usual, **meant, **particular})


def _meant(
    kind: str, label: Any, called: Mapping[str, Any], levels: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what a label of a task or strategy means; options said beside another label are not its own."""
    options = f"{kind}_options"
    common, *particular = (level if level.get(kind, label) == label else {} for level in levels)
    named = called.get(label) if isinstance(label, str) else None
    meant = {kind: label, options: common.get(options, {}), **(named or {})}
    for level in particular:
        meant[options] = level.get(options, meant[options])
    return meant
