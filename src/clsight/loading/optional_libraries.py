"""Libraries that only some models need: what a user reads when one is missing or broken."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from clsight.errors import CheckpointError


@contextmanager
def needing(package: str, *, extra: str) -> Iterator[None]:
    """Import libraries inside the block; one that does not import is told in one sentence.

    Args:
        package: The name under which it is installed.
        extra: The extra of clsight that brings it.

    Raises:
        CheckpointError: If an import fails.
    """
    try:
        yield
    except ImportError as error:
        if isinstance(error.__cause__, RuntimeError | AttributeError | OSError):  # transformers hides it so
            raise _broken(package, error.__cause__) from error
        missing = (error.name or getattr(error.__cause__, "name", None) or package).split(".", maxsplit=1)[0]
        raise CheckpointError(
            package,
            expected="an installed package",
            got=f"no module `{missing}`" if isinstance(error, ModuleNotFoundError) else _first_line(error),
            next_step=f"Run pip install 'clsight[{extra}]'",
        ) from error
    except (RuntimeError, AttributeError, OSError) as error:  # how torchvision fails beside another torch
        raise _broken(package, error) from error


@contextmanager
def hidden_if_broken(package: str) -> Iterator[None]:
    """Let other libraries go without a package inside the block, if it is installed but does not import.

    Python's own way: `sys.modules[package] = None`. It holds for all threads, in which the package does not
    import either.

    Raises:
        CheckpointError: If one of them does not go without it, having taken it for sound before.
    """
    if package in sys.modules:
        yield
        return
    try:
        if find_spec(package) is not None:
            import_module(package)
    except (ImportError, RuntimeError, AttributeError, OSError) as why:
        sys.modules[package] = None  # type: ignore[assignment]
        try:
            yield
        except ImportError as error:
            if package in _named_in(error):
                raise _broken(package, why) from why
            raise
        finally:
            sys.modules.pop(package, None)
    else:
        yield


def _named_in(error: BaseException | None) -> Iterator[str]:
    """Yield the packages that an import error and its causes name as missing."""
    while error is not None:
        yield (getattr(error, "name", None) or "").partition(".")[0]
        error = error.__cause__ or error.__context__


def _broken(package: str, error: BaseException) -> CheckpointError:
    return CheckpointError(
        package,
        expected="a package that imports",
        got=_first_line(error),
        next_step="Likely torchvision and torch are not of one build: install both from one index, as "
        "in pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu",
    )


def _first_line(error: BaseException) -> str:
    return (
        f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
    )
