"""The terminal commands: `clsight app`, `capture`, `compare`, `doctor`, `show` and `study`.

Each command imports what it needs when it runs, so that `clsight --help` answers at once. A problem that
clsight knows ends in one sentence on stderr and exit code 2.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from clsight import __version__
from clsight.command_options import given_input, load_subject, loading_options
from clsight.errors import AppError, CheckpointError, ClsightError, RecordError, did_you_mean
from clsight.study_command import study_group

_APP_PACKAGES = ("dash", "dash_mantine_components", "waitress")
_EXAMPLES = """\b
Examples:
  clsight app                                           Look at the sample models.
  clsight app my-model other-model                      Look at your own, and compare.
  clsight doctor digits-learned                         Ask whether its maps can be trusted.
  clsight capture digits-learned --out digits.zarr.zip  Save what [CLS] saw.
  clsight show digits.zarr.zip                          Summarize it.
  clsight compare digits-learned digits-zeros           Tell what differs between two models.
"""
_INPUT = click.option(
    "--input",
    "--inputs",
    "raw",
    metavar="INPUT",
    multiple=True,
    help="Instead of the model's own examples, what it reads: text, or the path of a .txt file of it; a "
    "picture; numbers as .npy, .csv or .txt. Once for each sample.",
)
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


class _Sentence(click.ClickException):
    """A problem shown as one sentence on stderr."""

    exit_code = 2


class _Group(click.Group):
    """A group whose commands end in a sentence, not in a traceback, when clsight knows the problem."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ClsightError as error:
            raise _Sentence(str(error)) from error


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
)
@click.version_option(__version__, message="clsight %(version)s")
def main() -> None:
    """See what your [CLS] token sees.

    clsight shows what the [CLS] position of a transformer encoder attends to and who attends to it,
    per layer and head, exactly as the model computed it.

    A MODEL is a model folder, a file of weights, or the name of a sample model.
    """


main.add_command(study_group)


@main.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    default=8050,
    show_default=True,
    help="Port to listen on.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, but open no browser.")
@click.option(
    "--root",
    "roots",
    metavar="FOLDER",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder whose record files the page Data set may open. Once for each.",
)
@loading_options
def app(models: tuple[str, ...], no_browser: bool, loading: dict[str, Any], **serving: Any) -> None:
    """Look at models in the browser.

    Serves the dashboard on this machine until Ctrl+C, over each MODEL, or over the sample models when
    none is named. Opens a browser where there is a display.
    """
    _require_app_packages()
    from clsight_app import serve
    from clsight_app.catalog import Source

    paths = [_model_path(model) for model in models]
    sources: Sequence[Any] = [Source.of(path, loading) for path in paths]
    if not models and loading:
        name = getattr(loading.get("factory"), "__name__", "model")
        sources = [Source(name, lambda: load_subject(None, loading))]
    serve(sources or _sample_models(), open_browser=not no_browser and _has_display(), **serving)


@main.command()
@click.argument("model", required=False)
@click.option(
    "--out", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Record to write."
)
@click.option("--examples", metavar="N", type=click.IntRange(min=1), help="Capture the first N only.")
@_INPUT
@loading_options
def capture(
    model: str | None, out: Path, examples: int | None, raw: tuple[str, ...], loading: dict[str, Any]
) -> None:
    """Run a model on examples and save the record.

    Loads MODEL, runs it on its own examples or on INPUT, and writes what [CLS] saw to FILE, a name that
    ends in .zarr.zip. FILE appears only when it is complete; an older one is replaced. MODEL may be left
    out where --model names what makes it, already trained.
    """
    import clsight
    from clsight.records.storing import check_target
    from clsight.summary import counts, note_lines

    check_target(out)  # before the work rather than after it
    if raw and examples is not None:
        step = "Leave out one of the two"
        raise ClsightError("--examples", expected="no --input beside it", got="both", next_step=step)
    subject = load_subject(None if model is None else _model_path(model), loading)
    shown = given_input(subject, raw) if raw else _first_examples(subject, subject.name, examples)
    record = clsight.capture(subject, shown)
    clsight.save_record(record, out)
    made = "" if raw else str(subject.provenance.get("examples", ""))
    told = f"; examples: {made}" if made else ""
    click.echo(f"Saved {out}: {subject.name}, {counts(record)}, {out.stat().st_size / 1e3:.0f} kB{told}.")
    for line in note_lines(record):
        click.echo(line)


@main.command()
@click.argument("model", required=False)
@_INPUT
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--all", "every", is_flag=True, help="Also tell what is in order, and what could not be checked."
)
@loading_options
def doctor(
    model: str | None, raw: tuple[str, ...], as_json: bool, every: bool, loading: dict[str, Any]
) -> None:
    """Ask whether a model's maps can be trusted.

    Runs MODEL a few times on its own examples or on INPUT, two of them or more, and tells what is wrong
    with its [CLS], its masks, its weights and its attention: each finding with its number and a next step.
    Ends with exit code 1 if there is an error among them. MODEL may be left out where --model names what
    makes it.
    """
    import clsight

    subject = load_subject(None if model is None else _model_path(model), loading)
    findings = clsight.diagnose(subject, given_input(subject, raw) if raw else None)
    width = min(shutil.get_terminal_size().columns, 100)
    click.echo(findings.to_json() if as_json else "\n".join(findings.lines(width=width, every=every)))
    click.get_current_context().exit(1 if findings.errors else 0)


@main.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@_INPUT
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@loading_options
def compare(before: str, after: str, raw: tuple[str, ...], *, as_json: bool, loading: dict[str, Any]) -> None:
    """Tell what changed between two checkpoints.

    Runs the models A and B, such as one before and after fine-tuning, on the same inputs: INPUT, or the
    examples of A, else those of B. Tells for each layer and head how far what [CLS] attends to moved, and
    which head does now what it did; and whether the answers are the same.
    """
    import clsight

    first, second = (load_subject(_model_path(model), loading) for model in (before, after))
    changes = clsight.compare(first, second, given_input(first, raw) if raw else None)
    width = min(shutil.get_terminal_size().columns, 100)
    click.echo(changes.to_json() if as_json else "\n".join(changes.lines(width=width)))


@main.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
def show(file: Path) -> None:
    """Summarize a saved record in the terminal.

    Prints what FILE holds and, for each layer, averaged over examples and heads: how spread out the
    attention of [CLS] is, how much it keeps for itself, how much it receives, and its top tokens.
    """
    from clsight.records import open_record
    from clsight.summary import summary_lines

    if file.is_dir():
        raise RecordError(
            str(file),
            expected="a record file",
            got="a folder",
            next_step=f"If it is a model, record it first: clsight capture {file} --out {file.name}.zarr.zip",
        )
    for line in summary_lines(open_record(file)):
        click.echo(line)


def _require_app_packages() -> None:
    missing = [name for name in _APP_PACKAGES if find_spec(name) is None]
    if missing:
        raise AppError(
            "clsight app",
            expected=f"the packages {', '.join(_APP_PACKAGES)}",
            got=f"no {', '.join(missing)}",
            next_step="Install them with: pip install 'clsight[app]'",
        )


def _has_display() -> bool:
    """Tell whether a browser window could open here."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in _DISPLAYS)


def _sample_models() -> list[Path]:
    from clsight.loading import sample_models_dir

    # Those that differ in one thing alone; others are opened by name.
    folders = (config.parent for config in sample_models_dir().glob("digits-*/config.json"))
    # The model whose CLS was learned comes first: it is what the others are compared with.
    return sorted(folders, key=lambda folder: (not folder.name.endswith("-learned"), folder.name))


def _model_path(model: str) -> Path:
    """Return the path a MODEL names: a path that exists, else the sample model of that name."""
    path = Path(model)
    if path.exists():
        return path
    samples = {sample.name: sample for sample in _sample_models()}
    if model in samples:
        return samples[model]
    raise CheckpointError(
        model,
        expected="a model folder or file, or the name of a sample model",
        got="neither",
        next_step=did_you_mean(model, samples),
    )


def _first_examples(subject: Any, model: str, count: int | None) -> Any:
    """Return the first `count` examples of a subject, or all of them."""
    if subject.examples is None or len(subject.examples) == 0:
        raise CheckpointError(
            model,
            expected="a model with examples",
            got="none",
            next_step="Give it inputs with --input, or put an examples file into a clsight folder",
        )
    if count is not None and count > len(subject.examples):
        raise CheckpointError(
            model,
            expected=f"at most {len(subject.examples)} examples, as many as the folder holds",
            got=f"--examples {count}",
            next_step="Choose a smaller number, or leave --examples out to capture all",
        )
    return subject.examples[:count]
