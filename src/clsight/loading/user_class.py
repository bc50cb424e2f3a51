"""The user's own class: imported by name, made without arguments, and filled with the weights of a file.

Only the command line and Python can name a class; nothing in a file or in the browser does.
"""

import inspect
import sys
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from clsight.errors import CheckpointError, did_you_mean
from clsight.loading.fitting import fit_by_layer, fit_weights
from clsight.loading.in_memory import check_sizes, subject_of
from clsight.loading.options import Options
from clsight.loading.subject import Subject
from clsight.loading.tensor_files import inside, read_tensors

Factory = Callable[[], nn.Module] | nn.Module
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_OPTION = "--model"


def is_user_class(path: Path, options: Options) -> bool:
    """Tell whether a factory was stated, whatever the path."""
    return options.factory is not None


def read_user_class(path: Path, options: Options) -> Subject:
    """Return the subject of the user's module with the weights in a file.

    Args:
        path: A file of weights, or a folder with one in it.
        options: `factory`; `cls_index` if [CLS] is not at 0; `within` if it runs several encoders.

    Raises:
        CheckpointError: If the factory makes no module, or the weights do not belong to it.
    """
    assert options.factory is not None
    module = made(options.factory)
    check_sizes(module)
    if module is options.factory:
        module = deepcopy(module)  # the caller's own keeps its weights, and two files give two models
    file = _weights_file(path)
    tensors = read_tensors(file)
    report = fit_weights(module, tensors.tensors, file=file)
    subject = subject_of(
        module,
        name=path.resolve().stem,
        cls_index=0 if options.cls_index is None else options.cls_index,
        within=options.within,
    )
    subject.provenance = {
        **subject.provenance,
        "path": str(path),
        "format": f"weights of {type(module).__qualname__}",
        "sha256": tensors.sha256,
        **fit_by_layer(report),
    }
    return subject


def imported(name: str) -> Callable[[], nn.Module] | nn.Module:
    """Return what `package.module:factory` names, imported with the current folder on the path.

    Raises:
        CheckpointError: If the name has another form, the module cannot be imported, or has no such name.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        _refuse("package.module:factory", repr(name), "Name the class or function after a colon")
    module = _import(module_name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [each for each in dir(found) if not each.startswith("_") and _is_factory(found, each)]
            _refuse(f"`{part}` in {module_name}", "no such name", did_you_mean(part, public))
        found = getattr(found, part)
    if not callable(found):
        _refuse(
            f"a class or function as {name}",
            f"an object of type {type(found).__name__}",
            "Name what makes it",
        )
    return found  # type: ignore[no-any-return]


def made(factory: Factory) -> nn.Module:
    """Return the module that a factory makes; a module is returned as it is.

    Raises:
        CheckpointError: If the factory needs arguments, raises, or returns something else.
    """
    if isinstance(factory, nn.Module):
        return factory
    if not callable(factory):
        got = f"an object of type {type(factory).__name__}"
        expected, step = (
            "a module, or a class or function that makes one",
            "Pass the class, or a function around it",
        )
        raise _error(expected, got, step, subject="factory")
    name = getattr(factory, "__qualname__", type(factory).__name__).rpartition("<locals>.")[2]
    _check_needs_nothing(factory, name)
    try:
        module = factory()
    except Exception as error:
        got = f"{type(error).__name__}: {_one_line(error)}"
        step = "Call it yourself in Python to see the traceback"
        raise _error("a module when it is called", got, step, subject=name) from error
    if not isinstance(module, nn.Module):
        got, step = f"an object of type {type(module).__name__}", "Return the module itself"
        raise _error("a module when it is called", got, step, subject=name)
    return module


def _check_needs_nothing(factory: Callable[..., Any], name: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # written in C, or not callable: the call tells
        return
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    if needed:
        values = ", ".join(f"{each}=..." for each in needed)
        raise _error(
            "a class or function that needs no arguments",
            f"one that needs {', '.join(needed)}",
            f"Name a function that gives them, such as `def make(): return {name}({values})`",
            subject=name,
        )


def _import(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            expected, got = f"a module {name} on the path or in {here}", f"no module {error.name}"
            raise _error(
                expected, got, "Run clsight in the folder that your code is imported from"
            ) from error
        got = f"{type(error).__name__}: {_one_line(error)}"
        raise _error(f"{name} to import", got, f"Make `python -c 'import {name}'` work first") from error


def _is_factory(owner: Any, name: str) -> bool:
    value = getattr(owner, name, None)
    is_own = getattr(value, "__module__", None) == getattr(owner, "__name__", "")
    return callable(value) and is_own


def _weights_file(path: Path) -> Path:
    """Return the file itself, or the one file of weights in a folder such as a trainer writes."""
    if not path.is_dir():
        return path
    for name in _WEIGHTS:
        if (path / name).exists():
            return inside(path, name)
    names = sorted(each.name for each in path.iterdir())
    raise CheckpointError(
        str(path),
        expected=f"a file of weights, or a folder with {' or '.join(_WEIGHTS)}",
        got=f"a folder with {', '.join(names[:5]) or 'nothing in it'}",
        next_step="Name the file",
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _error(expected: str, got: str, next_step: str, *, subject: str = _OPTION) -> CheckpointError:
    return CheckpointError(subject, expected=expected, got=got, next_step=next_step)


def _refuse(expected: str, got: str, next_step: str) -> None:
    raise _error(expected, got, next_step)
