"""The commands of the laboratory: `clsight study run`, `show` and `report`."""

import os
import shutil
from pathlib import Path
from typing import Any, Final

import click

from clsight.errors import StudyError

MOST_RUNS: Final = 500
"""A study of more runs than this starts only with --yes."""

_INTERRUPTED: Final = 130
_WIDTH: Final = 100


@click.group(name="study")
def study_group() -> None:
    """Ask whether the way [CLS] begins matters.

    A study trains models that differ in how [CLS] begins, and tells whether that makes a difference. What it
    asks is written in a FILE of TOML.
    """


@study_group.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), help="Its folder; by default FILE without .toml."
)
@click.option(
    "--workers", metavar="N", type=click.IntRange(min=1), help="Runs at once; by default one per core."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or a Ray cluster.",
)
@click.option(
    "--address", metavar="ADDRESS", help="Of the Ray cluster, such as auto; by default one starts here."
)
@click.option(
    "--gpus", metavar="N", type=click.FloatRange(min=0), default=0.0, help="Of each run on Ray, such as 0.25."
)
@click.option("--yes", is_flag=True, help=f"Start also if there are more than {MOST_RUNS} runs.")
@click.option(
    "--allow-task",
    "allowed",
    metavar="NAME",
    multiple=True,
    help="A task of your own in FILE, package.module:task, whose code may be imported.",
)
@click.option(
    "--plan", "plan_only", is_flag=True, help="Print what would run, every default included, and end."
)
def run(
    file: Path, *, out: Path | None, yes: bool, allowed: tuple[str, ...], plan_only: bool, **where: Any
) -> None:
    """Run a study, or go on with it.

    Trains every model that FILE asks for and that DIR does not hold yet, and prints the answers. After
    Ctrl+C, a kill or a failed run the same command goes on where it stopped.
    """
    from clsight.study.running import check_allowed, run_study
    from clsight.study.store import Store
    from clsight.study.study_file import read_study

    study = read_study(file)
    folder = out or file.with_suffix("")
    store = Store(folder)
    engine = _engine(**where)
    if plan_only:
        _echo(*study.lines(), "")
    check_allowed(study, allowed)
    count, told = _told_count(study, store, engine, try_some=plan_only)
    _echo(told)
    if plan_only:
        return
    if count > MOST_RUNS and not yes:
        _, told = _told_count(study, store, engine, try_some=True)
        step = "Give --yes to start them all, or ask for less in the file"
        raise StudyError("--yes", expected=f"at most {MOST_RUNS} runs without it", got=told, next_step=step)
    try:
        tally = run_study(study, store, engine, allow_tasks=allowed)
    except KeyboardInterrupt:
        _echo(f"Stopped. The finished runs are in {folder}; the same command goes on.", err=True)
        click.get_current_context().exit(_INTERRUPTED)
    _show(store, "accuracy")
    for error, runs in tally.errors.items():
        _echo(f"Failed in {runs} run{'' if runs == 1 else 's'}: {error}", err=True)
    click.get_current_context().exit(1 if tally.failed else 0)


@study_group.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    metavar="NAME",
    default="accuracy",
    show_default=True,
    help="What the tables show, such as loss or steps_to_90.",
)
def show(folder: Path, metric: str) -> None:
    """Print the answers of a study, and a table of its arms.

    DIR is the folder of a study, finished or not.
    """
    from clsight.study.store import Store

    _show(Store(folder), metric)


@study_group.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The page to write; by default DIR/report.html. The others take its name with .json and .csv.",
)
@click.option(
    "--metric",
    metavar="NAME",
    default="accuracy",
    show_default=True,
    help="What is compared outside the declared comparisons.",
)
def report(folder: Path, out: Path | None, metric: str) -> None:
    """Write the report of a study: a page, its numbers, and its runs.

    DIR is the folder of a study, finished or not. The page is one HTML file that needs no network: the
    questions, each with its answer, intervals, curves and maps, and how it was made. Beside it stand all
    numbers as JSON, and a row per run as CSV.
    """
    from clsight.reporting import write_study_report
    from clsight.study.store import Store

    for file in write_study_report(Store(folder), out or folder / "report.html", metric=metric):
        _echo(f"Wrote {file} ({file.stat().st_size / 1e3:.0f} kB).")


def _engine(*, engine: str, workers: int | None, address: str | None, gpus: float) -> Any:
    """Return what makes the runs."""
    from clsight.study.engines import LocalEngine, RayEngine

    if engine == "ray":
        return RayEngine(workers=workers, address=address, gpus=gpus)
    if address or gpus:
        name = "--address" if address else "--gpus"
        raise StudyError(name, expected="--engine ray beside it", got="local", next_step="Add --engine ray")
    return LocalEngine(workers or os.cpu_count() or 1)


def _told_count(study: Any, store: Any, engine: Any, *, try_some: bool) -> tuple[int, str]:
    """Return how many runs are to be made, and a sentence on that and on the time they take."""
    from clsight.study.estimating import duration, estimated_seconds
    from clsight.study.running import runs_of
    from clsight.study.working import trained

    runs = runs_of(study, store)
    missing = sum(not store.has(key) for key in runs)
    seconds = estimated_seconds(runs, store, engine, trained, try_some=try_some)
    told = f"{study.name}: {missing} of {len(runs)} runs to make"
    if engine.workers:
        told += f", {engine.workers} at once"
    return missing, told if seconds is None else f"{told}, about {duration(seconds / (engine.workers or 1))}"


def _show(store: Any, metric: str) -> None:
    from clsight.study.result_tables import result_lines
    from clsight.study.results import results_of

    width = min(shutil.get_terminal_size().columns, _WIDTH)
    _echo(*result_lines(results_of(store), metric=metric, width=width))


def _echo(*lines: str, err: bool = False) -> None:
    for line in lines:
        click.echo(line, err=err)
