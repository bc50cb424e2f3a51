"""Which code makes a run? The source files that a function can reach: a change of one makes a new run."""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

_PACKAGE: Final = "clsight"
_ROOT: Final = Path(__file__).parents[1]


@cache
def code_version(module: str) -> str:
    """Return a hash of a module and all of clsight that it imports, directly or not, anywhere in its text.

    What the package's own `__init__.py` files import counts only where a package itself is imported from.

    Args:
        module: Name of a module that is already imported.
    """
    digest = hashlib.sha256()
    for name, file in sorted(source_files(module).items()):
        digest.update(f"{name}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def source_files(module: str) -> dict[str, Path]:
    """Return the source file of each module that a module can reach, itself included, by dotted name."""
    start = sys.modules[module].__file__
    assert start is not None, f"{module} has no source file"
    found = {module: Path(start)}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for target in _imports(name, found[name]):
            file = _file_of(target)
            if file is not None and target not in found:
                found[target] = file
                waiting.append(target)
    return found


def _imports(module: str, file: Path) -> Iterator[str]:
    """Yield the names of modules of clsight that a source file imports; the package itself is left out."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(module, file, node)
            yield from (_imported(origin, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A module named in text is imported on use, as registries do.
            yield node.value.partition(":")[0] if node.value.startswith(f"{_PACKAGE}.") else ""


def _absolute(module: str, file: Path, node: ast.ImportFrom) -> str:
    """Return the dotted name that a `from` import starts at."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    package = parts[: len(parts) - node.level + (file.name == "__init__.py")]
    return ".".join([*package, *([node.module] if node.module else [])])


def _imported(origin: str, name: str) -> str:
    """Return the module that `from origin import name` reads: a submodule, or the one that has the name."""
    if origin == _PACKAGE and name in _homes():
        return _homes()[name]
    return f"{origin}.{name}" if _file_of(f"{origin}.{name}") else origin


def _homes() -> dict[str, str]:
    """Return the module that each lazy public name of the package comes from."""
    homes: dict[str, str] = vars(sys.modules[_PACKAGE])["_HOME_OF"]
    return homes


def _file_of(name: str) -> Path | None:
    """Return the source file of a module below clsight; None for any other name, and for clsight itself."""
    if not name.startswith(f"{_PACKAGE}."):
        return None
    path = _ROOT.joinpath(*name.split(".")[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None
