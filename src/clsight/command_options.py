"""The options by which a terminal command says how to load a MODEL, shared by all commands that do."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from clsight.errors import CheckpointError

_OPTIONS: Final = (
    click.option(
        "--architecture",
        metavar="LIBRARY:NAME",
        help="The model that a file of weights belongs to, such as timm:vit_small_patch16_224.",
    ),
    click.option("--heads", metavar="N", type=int, help="Attention heads per layer of a bare state dict."),
    click.option(
        "--norm", type=click.Choice(["pre", "post"]), help="Where the norms of a bare state dict stand."
    ),
    click.option(
        "--activation",
        type=click.Choice(["relu", "gelu"]),
        help="Of the feed-forward part of a bare state dict.",
    ),
    click.option(
        "--cls-index", metavar="N", type=int, help="Position of [CLS] in the sequence that the encoder sees."
    ),
    click.option(
        "--within",
        metavar="NAME",
        help="The part of your own class whose attention is meant, where it runs several encoders.",
    ),
    click.option(
        "--classifies/--no-classifies",
        default=None,
        help="Whether what the model returns is a score for each class, where its format does not say.",
    ),
    click.option(
        "--model",
        "factory",
        metavar="MODULE:FACTORY",
        help="Your own class or function that makes the model, imported from the folder you are in.",
    ),
)
_OF_A_MODULE: Final = ("cls_index", "within", "classifies")


def loading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, and hand it those that were given as one argument `loading`.

    `loading` goes to `clsight.load(path, **loading)`, or to `load_subject` where the path may be left out:
    its `factory` is what --model names, already imported.
    """

    @functools.wraps(command)
    def with_loading(**given: Any) -> Any:
        names = (
            "architecture",
            "heads",
            "norm",
            "activation",
            "cls_index",
            "within",
            "classifies",
            "factory",
        )
        stated = {name: given.pop(name) for name in names}
        loading = {name: value for name, value in stated.items() if value is not None}
        if "factory" in loading:
            from clsight.loading.user_class import imported

            loading["factory"] = imported(loading["factory"])
        return command(**given, loading=loading)

    for option in reversed(_OPTIONS):
        with_loading = option(with_loading)
    return with_loading


def load_subject(path: Path | None, loading: Mapping[str, Any]) -> Any:
    """Return the subject at a path; without a path the one that --model makes, with the weights it has.

    Args:
        path: A model folder or file.
        loading: What `loading_options` handed to the command.

    Raises:
        CheckpointError: If the model cannot be loaded, or there is neither a path nor --model.
    """
    import clsight
    from clsight.loading.in_memory import subject_of
    from clsight.loading.user_class import made

    if path is not None:
        return clsight.load(path, **loading)
    if "factory" not in loading:
        step = "Name a model folder or file, or your own class with --model"
        raise CheckpointError("MODEL", expected="a model", got="none", next_step=step)
    for name in loading.keys() - {"factory", *_OF_A_MODULE}:
        step = "Leave it out: the class says it"
        raise CheckpointError(name, expected="no such option for --model", got="one", next_step=step)
    stated = {name: loading[name] for name in _OF_A_MODULE if name in loading}
    return subject_of(made(loading["factory"]), **stated)


def given_input(subject: Any, raw: Sequence[str]) -> Any:
    """Return what the user gave with --input as examples: a text each, or a path each.

    Args:
        subject: What `clsight.load` returned.
        raw: What was given, at least one; what names a file that exists is that file.

    Raises:
        ClsightError: If a file is not there, cannot be read, or does not hold what the model takes.
    """
    from clsight.loading.raw_files import given_as

    given = [given_as(one) for one in raw]
    return subject.read(given[0] if len(given) == 1 else given)
