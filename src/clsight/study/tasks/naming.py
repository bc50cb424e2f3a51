"""Tasks by their names: those of clsight, and the user's own as `package.module:task`."""

import inspect
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from clsight.errors import StudyError, did_you_mean
from clsight.study.tasks.task import TASKS, Task, TaskMaker


def task_named(name: str, options: Mapping[str, Any] | None = None, *, allow: bool = False) -> Task:
    """Return a task by its name.

    Args:
        name: A key of `TASKS`, or `package.module:task`: a function of the user's from options to a `Task`,
            imported with the current folder on the path.
        options: Keywords that the task takes.
        allow: Whether code of the user's may run. A study file alone must not decide that.

    Raises:
        StudyError: If there is no such task, it does not take an option, or may not run.
    """
    return _made(name, own_task(name, allow=allow) if ":" in name else _listed(name), dict(options or {}))


def own_task(name: str, *, allow: bool) -> TaskMaker:
    """Return the function that `package.module:task` names.

    Raises:
        StudyError: If it may not run, cannot be imported, or is no function.
    """
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise _refusal("task", "package.module:task", repr(name), "Name the function after a colon")
    if not allow:
        step = f"If you trust that code, add: --allow-task {name}"
        raise _refusal("task", "a task that was allowed on the command line", repr(name), step)
    module = _imported(module_name)
    maker = getattr(module, attribute, None)
    if not inspect.isfunction(maker):
        got = f"no `{attribute}`" if maker is None else f"an object of type {type(maker).__name__}"
        own = [each for each, value in vars(module).items() if inspect.isfunction(value)]
        raise _refusal(name, f"a function in {module_name}", got, did_you_mean(attribute, own))
    return maker


def _listed(name: str) -> TaskMaker:
    if name not in TASKS:
        raise _refusal("task", "a known task", repr(name), did_you_mean(name, TASKS))
    return TASKS[name]


def _made(name: str, maker: TaskMaker, options: dict[str, Any]) -> Task:
    try:
        inspect.signature(maker).bind(**options)
    except TypeError as error:
        expected, step = "options that it takes", "Correct `task_options`"
        raise _refusal(f"task {name}", expected, str(error), step) from error
    made = maker(**options)
    if not isinstance(made, Task):
        got, step = f"an object of type {type(made).__name__}", "Return a `clsight.study.tasks.Task`"
        raise _refusal(name, "a task when it is called", got, step)
    return made


def _imported(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        got = f"{type(error).__name__}: {' '.join(str(error).split())}"
        step = f"Make `python -c 'import {name}'` work first"
        raise _refusal("task", f"a module {name} to import", got, step) from error


def _refusal(subject: str, expected: str, got: str, next_step: str) -> StudyError:
    return StudyError(subject, expected=expected, got=got, next_step=next_step)
