"""The import rules of clsight as a function over a source tree: which stage may import which.

Every import counts: at the top, inside a function, for type checking only, relative, by `import_module`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

STAGES = (
    {"errors", "schema"},
    {"records"},  # before the models, so that it can never come to need torch
    {
        "cls_token",
        "cls_strategy",
        "cls_replacement",
        "replaceable",
        "substitution",
        "module_lock",
        "model_config",
        "models",
    },
    {"checkpoints", "saving", "preparation", "loading"},
    {"hooks"},
    {"analysis", "statistics"},
    {"doctor", "interventions", "faithfulness"},
    {"study", "tracking", "changes"},
    {"summary", "figures"},
    {"reporting"},
    {"clsight_app"},
    {"command_options", "study_command"},
    {"cli"},
    {"clsight"},
)
"""A stage imports itself and what stands above it. `clsight` is the package's own `__init__.py`."""

_MODELS, _LOADING = STAGES[2], STAGES[3]
ZONES = {
    "torch": _MODELS | _LOADING | {"hooks", "doctor", "interventions", "faithfulness", "study", "tracking"},
    "torchvision": set[str](),
    "transformers": _LOADING | {"tracking"},
    "lightning": {"tracking"},
    "pytorch_lightning": {"tracking"},
    "tensorboard": {"tracking"},
    "timm": _LOADING,
    "open_clip": _LOADING,
    "captum": {"interventions"},
    "ray": {"study"},
    "PIL": _LOADING,
    "safetensors": _LOADING,
    "plotly": {"figures", "reporting", "clsight_app"},
    "dash": {"clsight_app"},
    "dash_mantine_components": {"clsight_app"},
    "waitress": {"clsight_app"},
}
"""The only stages that may import a heavy library."""

ROOTS = {"src": "clsight", "app": "clsight_app"}
_RANK = {name: rank for rank, names in enumerate(STAGES) for name in names}
_TERMINAL = {"cli", "command_options", "study_command"}
_LIGHT = {"clsight", "errors", "schema", "command_options", "study_command"}


def violations(tree: Path, homes: dict[str, str]) -> list[str]:
    """Return a line `file:line: what is wrong` for each import below `tree` that breaks a rule.

    Args:
        tree: A folder with `src/clsight` and `app/clsight_app`.
        homes: The module each lazy public name of `clsight` comes from.
    """
    found = []
    for root, package in ROOTS.items():
        for path in sorted((tree / root / package).rglob("*.py")):
            module = ".".join(path.relative_to(tree / root).with_suffix("").parts)
            for line, target, is_local in imports_of(path.read_text(encoding="utf-8"), module, homes):
                if complaint := judge(stage_of(module), target, is_local=is_local):
                    found.append(f"{path.relative_to(tree)}:{line}: {complaint}")
    return found


def imports_of(source: str, module: str, homes: dict[str, str]) -> Iterator[tuple[int, str, bool]]:
    """Yield for each import its line, the imported module, and whether it stands inside a function."""
    for node, is_local in _walk(ast.parse(source), is_local=False):
        for target in _targets(node, module, homes):
            yield getattr(node, "lineno", 0), target, is_local


def judge(stage: str, target: str, *, is_local: bool) -> str:
    """Return what is wrong with an import of `target` in `stage`, or nothing."""
    top = target.split(".", maxsplit=1)[0]
    if top in ZONES:
        return "" if stage in ZONES[top] else f"{stage} may not import {top}"
    if top not in ROOTS.values():
        return ""
    other = stage_of(target)
    if other not in _RANK or stage not in _RANK:
        return f"{stage if stage not in _RANK else other} has no stage: give it one in import_rules.py"
    if stage in _TERMINAL and not is_local and other not in _LIGHT:
        return f"{stage} may import {other} only inside a function"
    if target == "clsight" and stage in {*_TERMINAL, "clsight_app"}:
        return ""
    return "" if _RANK[other] <= _RANK[stage] else f"{stage} may not import {other}, a later stage"


def stage_of(module: str) -> str:
    """Return the stage of a dotted name: `hooks` for `clsight.hooks.kernels`; the app is one stage."""
    first, *rest = module.removesuffix(".__init__").split(".")
    return rest[0] if first == "clsight" and rest else first


def _walk(node: ast.AST, *, is_local: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, is_local
    inside = is_local or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, is_local=inside)


def _targets(node: ast.AST, module: str, homes: dict[str, str]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (name.name for name in names)
        case ast.ImportFrom(module=origin, names=names, level=level):
            package = _package(module, level)
            base = ".".join(part for part in (package, origin) if part)
            yield from (_imported(base, name.name, homes) for name in names)
        case ast.Call(
            func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name))]
        ):
            if called in {"import_module", "__import__"}:
                yield name


def _package(module: str, level: int) -> str:
    """Return the package a relative import starts from, nothing for an absolute one."""
    if level == 0:
        return ""
    return ".".join(module.split(".")[:-level])


def _imported(base: str, name: str, homes: dict[str, str]) -> str:
    if base != "clsight":
        return base
    if name == "__version__":
        return "clsight.errors"
    return homes.get(name, f"clsight.{name}")
