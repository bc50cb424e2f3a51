"""Study files: what a study asks, as TOML that is read, checked and told with every default."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clsight.errors import StudyError
from clsight.study.blocks import Arm, Block, Names, block_of, seeds_of
from clsight.study.primaries import Primary, check_seeds_suffice, primary_of
from clsight.study.run_settings import RunSettings
from clsight.study.setting_checks import check_setting_names
from clsight.study.toml_tables import Table

_TOP: Final = ("study", "base", "tasks", "strategies", "tuning", "block", "primary")
_STUDY: Final = ("name", "question", "seeds", "level", "probe_steps")
FIRST_TUNING_SEED: Final = 10_000
"""Where the seeds of tuning begin, if the file gives only their number: far from those of the study."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How learning rates are chosen: for each arm on its own, by accuracy on validation data.

    Attributes:
        learning_rates: The grid, rising.
        seeds: Of the runs that choose; none of them is a seed of the study.
    """

    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study file says, checked, with every default.

    Attributes:
        name: Of the study.
        question: What it asks, in words.
        seeds: Of all runs whose block has none of its own; each is a unit of the statistics.
        level: Of all its tests.
        probe_steps: At how many training steps what [CLS] sees is recorded.
        tuning: How learning rates are chosen; None if the file gives them.
        names: Common settings, tasks and strategies with names of their own.
        blocks: Its parts, in the order of the file.
        arms: For each block its arms.
        primaries: The comparisons declared beforehand.
    """

    name: str
    question: str
    seeds: tuple[int, ...]
    level: float
    probe_steps: int
    tuning: Tuning | None
    names: Names
    blocks: tuple[Block, ...]
    arms: Mapping[str, tuple[Arm, ...]]
    primaries: tuple[Primary, ...]

    def lines(self) -> Iterator[str]:
        """Yield all that decides the study, defaults included, as lines of TOML."""
        yield from ("[study]", f"name = {_toml(self.name)}", f"question = {_toml(self.question)}")
        yield f"seeds = {_toml(self.seeds)}"
        yield from (f"level = {_toml(self.level)}", f"probe_steps = {_toml(self.probe_steps)}")
        usual = {name: value for name, value in RunSettings(task="").to_dict().items() if name != "seed"}
        yield from _table("base", {**{k: v for k, v in usual.items() if k != "task"}, **self.names.base})
        for kind, named in (("tasks", self.names.task), ("strategies", self.names.strategy)):
            for name, values in named.items():
                yield from _table(f"{kind}.{_toml(name)}", values)
        if self.tuning:
            rates = {"learning_rate": self.tuning.learning_rates, "seeds": self.tuning.seeds}
            yield from _table("tuning", rates)
        for block in self.blocks:
            told = {"name": block.name, "design": block.design, "seeds": block.seeds, "tune": block.tune}
            yield from _table("[block]", {**told, "base": block.base, "vary": block.vary})
        for primary in self.primaries:
            yield from _table("[primary]", declaration(primary))


def read_study(path: str | Path) -> Study:
    """Return the study that a TOML file describes.

    Raises:
        StudyError: If the file cannot be read, is no TOML, or says something that cannot be run.
    """
    source = Path(path)
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        step = "Give the path of a study file"
        raise StudyError(str(source), expected="a study file", got=_why(error), next_step=step) from error
    except tomllib.TOMLDecodeError as error:
        step = "Correct the line"
        raise StudyError(str(source), expected="TOML", got=str(error), next_step=step) from error
    return study_of(values, name=source.stem)


def study_of(values: Mapping[str, Any], *, name: str = "study") -> Study:
    """Return the study that the tables of a study file describe.

    Args:
        values: As `tomllib` gives them.
        name: Of the study, if they do not say.

    Raises:
        StudyError: If a name is unknown, or a value cannot be run.
    """
    top = Table(values, "the study file", _TOP)
    general = Table(top.take("study", "a table", {}), "[study]", _STUDY)
    seeds = seeds_of(general)
    names = _names(top)
    tuning = _tuning(top)
    tables = top.take("block", "a list of tables")
    blocks = tuple(
        block_of(table, number, seeds, tune=tuning is not None) for number, table in enumerate(tables, 1)
    )
    _check_blocks(blocks, tuning)
    arms = {block.name: tuple(block.arms(names)) for block in blocks}
    declared = top.take("primary", "a list of tables", [])
    primaries = tuple(primary_of(table, number, arms) for number, table in enumerate(declared, 1))
    level = general.take("level", "a number between 0 and 1", 0.05)
    _check_different([primary.name for primary in primaries], "[[primary]]")
    check_seeds_suffice(primaries, level)
    return Study(
        name=general.take("name", "text", name),
        question=general.take("question", "any text", ""),
        seeds=seeds,
        level=level,
        probe_steps=general.take("probe_steps", "a whole number of 1 or more", 12),
        tuning=tuning,
        names=names,
        blocks=blocks,
        arms=arms,
        primaries=primaries,
    )


def declaration(primary: Primary) -> dict[str, Any]:
    """Return what a primary comparison declares, as plain values."""
    optional = {"margin": primary.margin, "pilot_spread": primary.pilot_spread}
    return {
        "name": primary.name,
        "block": primary.a.block,
        "a": dict(primary.a.labels),
        "b": dict(primary.b.labels),
        "metric": primary.metric,
        "test": primary.test,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _names(top: Table) -> Names:
    base = top.take("base", "a table", {})
    check_setting_names(base, "[base]")
    tasks = _named(top, "tasks", "task")
    strategies = _named(top, "strategies", "strategy")
    for name, values in strategies.items():
        Table(values, f"[strategies.{name}]", ("strategy", "strategy_options"))
    return Names(base=base, task=tasks, strategy=strategies)


def _named(top: Table, plural: str, setting: str) -> dict[str, dict[str, Any]]:
    """Return the settings that go with each name of a kind; a name that stands for itself need not say so."""
    found = {}
    for name, values in top.take(plural, "a table", {}).items():
        place = f"[{plural}.{name}]"
        if not isinstance(values, Mapping):
            raise top.error(plural, expected=f"tables {place}", got=repr(values), next_step="Make it a table")
        check_setting_names(values, place)
        found[name] = {setting: name, **values}
    return found


def _tuning(top: Table) -> Tuning | None:
    if "tuning" not in top.values:
        return None
    table = Table(top.take("tuning", "a table"), "[tuning]", ("learning_rate", "seeds"))
    rates = table.take("learning_rate", "a list of numbers above 0")
    return Tuning(
        learning_rates=tuple(sorted({float(rate) for rate in rates})),
        seeds=seeds_of(table, start=FIRST_TUNING_SEED),
    )


def _check_blocks(blocks: tuple[Block, ...], tuning: Tuning | None) -> None:
    _check_different([block.name for block in blocks], "[[block]]")
    for block in blocks:
        if block.tune and tuning is None:
            step = "Add [tuning] with `learning_rate` and `seeds`, or set `tune = false`"
            raise StudyError(
                "tune", expected="a table [tuning]", got="none", where=f"In {block.place}", next_step=step
            )
        shared = sorted(set(block.seeds) & set(tuning.seeds)) if block.tune and tuning else []
        if shared:
            raise StudyError(
                "seeds",
                expected="seeds of tuning that no other run has",
                got=", ".join(map(str, shared)),
                where=f"In [tuning] and {block.place}",
                next_step=f"Use seeds from {FIRST_TUNING_SEED} on for tuning",
            )


def _check_different(names: list[str], place: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        step = "Give each a `name` of its own"
        raise StudyError(
            "name", expected="different names", got=f"{twice[0]!r} twice", where=f"In {place}", next_step=step
        )


def _table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"[{name}]")
    for key, value in values.items():
        yield f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "bytes that are no UTF-8 text"
