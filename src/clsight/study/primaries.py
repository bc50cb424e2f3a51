"""Primary comparisons: the few that a study declares before it runs, and that its answer rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clsight.errors import StudyError, did_you_mean
from clsight.study.blocks import Arm
from clsight.study.toml_tables import Table

DIFFERENCE: Final = "difference"
EQUIVALENCE: Final = "equivalence"
TESTS: Final = (DIFFERENCE, EQUIVALENCE)
_KNOWN: Final = ("name", "block", "where", "a", "b", "metric", "test", "margin", "pilot_spread")


@dataclass(frozen=True, kw_only=True)
class Primary:
    """A pair of arms, what is compared, and by which test.

    Attributes:
        name: What the answer calls it.
        a: The first arm; a difference is a − b.
        b: The second arm, with the same seeds.
        metric: A name of `RunResult.outcome`.
        test: `difference` (paired permutation) or `equivalence` (two one-sided tests).
        margin: Largest difference that does not matter, in the unit of the metric; None if not declared,
            which only a test of difference allows.
        pilot_spread: Standard deviation of paired differences in a pilot; None if there was none.
    """

    name: str
    a: Arm
    b: Arm
    metric: str
    test: str
    margin: float | None
    pilot_spread: float | None


def primary_of(values: Mapping[str, Any], number: int, arms: Mapping[str, Sequence[Arm]]) -> Primary:
    """Return the comparison that a table of a study file declares.

    Args:
        values: The table.
        number: Of the comparison in the file, from 1.
        arms: For each block its arms.

    Raises:
        StudyError: If a name is unknown, a value is not as it should be, or an arm is not one arm.
    """
    table = Table(values, f"[[primary]] {number}", _KNOWN)
    block = table.take("block", "text")
    if block not in arms:
        step = did_you_mean(block, arms)
        raise table.error("block", expected="the name of a block", got=repr(block), next_step=step)
    test = table.take("test", "text", DIFFERENCE)
    if test not in TESTS:
        raise table.error(
            "test", expected="a known test", got=repr(test), next_step=did_you_mean(test, TESTS)
        )
    margin = table.take("margin", "a number above 0", None)
    if test == EQUIVALENCE and margin is None:
        step = "Declare the largest difference that does not matter, before the study runs"
        raise table.error("margin", expected="one, since the test is equivalence", got="none", next_step=step)
    where = table.take("where", "a table", {})
    a, b = (_arm(table, side, where, arms[block]) for side in ("a", "b"))
    if a is b:
        raise table.error("b", expected="another arm than `a`", got="the same", next_step="Change one")
    metric = table.take("metric", "text", "accuracy")
    name = table.take("name", "text", f"{_said(values['a'])} − {_said(values['b'])} in {metric}, {block}")
    return Primary(
        name=name,
        a=a,
        b=b,
        metric=metric,
        test=test,
        margin=margin,
        pilot_spread=table.take("pilot_spread", "a number above 0", None),
    )


def check_seeds_suffice(primaries: Sequence[Primary], level: float) -> None:
    """Raise StudyError if some test cannot find anything, however large the effect.

    The smallest p-value of n sign flips is 2 / 2^n; Holm's rule asks level / m of the smallest of m.
    """
    for primary in primaries:
        least = 2
        if primary.test == DIFFERENCE:
            least = math.ceil(math.log2(2 * len(primaries) / level))
        seeds = len(primary.a.seeds)
        if seeds < least:
            family = f"{len(primaries)} primary comparison{'' if len(primaries) == 1 else 's'}"
            raise StudyError(
                "seeds",
                expected=f"at least {least} for a test of {primary.test} at level {level:g} in {family}",
                got=str(seeds),
                where=f"In the comparison {primary.name!r}",
                next_step=f"Set `seeds` to {least} or more, or declare fewer comparisons",
            )


def _arm(table: Table, side: str, where: Mapping[str, Any], arms: Sequence[Arm]) -> Arm:
    """Return the one arm that a side and `where` describe."""
    asked = table.take(side, "text or a table")
    wanted = {**where, **({"strategy": asked} if isinstance(asked, str) else asked)}
    varied = arms[0].labels
    for name, value in wanted.items():
        listed = [arm.labels.get(name) for arm in arms]
        if name not in varied:
            step = did_you_mean(name, varied) if varied else "The block varies nothing"
            raise table.error(name, expected="a setting that the block varies", got="none", next_step=step)
        if value not in listed:
            options = dict.fromkeys(map(str, listed))
            step = did_you_mean(str(value), options)
            raise table.error(name, expected="a value of the block", got=repr(value), next_step=step)
    fitting = [arm for arm in arms if all(arm.labels[name] == value for name, value in wanted.items())]
    if len(fitting) != 1:
        open_names = [
            name for name in varied if name not in wanted and len({str(a.labels[name]) for a in fitting}) > 1
        ]
        step = f"Say which: where = {{ {', '.join(f'{name} = ...' for name in open_names)} }}"
        got = f"{len(fitting)} that fit"
        raise table.error(side, expected="one arm of the block", got=got, next_step=step)
    return fitting[0]


def _said(side: Any) -> str:
    return side if isinstance(side, str) else ", ".join(f"{name} {value}" for name, value in side.items())
