"""The stages import in one direction, `import clsight` is light, and no module hides a public function."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import clsight
from import_rules import violations

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "numpy", "plotly", "dash", "xarray", "pandas", "scipy", "zarr", "transformers", "click"}
HOMES = {
    name: f"clsight.{home}"
    for home, names in {"hooks": ["capture"], "loading": ["load"], "records": ["stack"]}.items()
    for name in names
}

LOADED = """
import json, sys
{statement}
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""

HIDDEN = """
import importlib, json, pkgutil, sys, types
package = importlib.import_module(sys.argv[1])
public = {name: getattr(package, name) for name in package.__all__}
functions = [name for name, value in public.items() if isinstance(value, types.FunctionType)]
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(json.dumps([name for name in functions if isinstance(getattr(package, name), types.ModuleType)]))
"""


def run_python(code: str, *arguments: str, folder: Path = ROOT) -> list[str]:
    """Run code in a fresh process in `folder` and return the JSON list it prints."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return names


def heavy_after(statement: str) -> set[str]:
    """Return the heavy libraries that a fresh process has loaded after a statement."""
    return HEAVY.intersection(run_python(LOADED.format(statement=statement)))


def functions_hidden_by_modules(package: str, folder: Path = ROOT) -> list[str]:
    """Return the public functions of a package that are modules once every submodule is imported."""
    return run_python(HIDDEN, package, folder=folder)


def test_every_import_points_to_an_earlier_stage() -> None:
    assert violations(ROOT, {**clsight._HOME_OF}) == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("src/clsight/analysis/a.py", "from clsight.figures import grid", "analysis may not import figures"),
        ("src/clsight/records.py", "import clsight.analysis.a", "records may not import analysis"),
        (
            "src/clsight/hooks/a.py",
            "def f():\n    from clsight import analysis",
            "hooks may not import analysis",
        ),
        ("src/clsight/hooks/a.py", "from ..figures import grid", "hooks may not import figures"),
        ("src/clsight/loading.py", "from clsight import capture", "loading may not import hooks"),
        ("src/clsight/records.py", "from clsight.hooks import Recorder", "records may not import hooks"),
        ("src/clsight/loading.py", "import clsight", "loading may not import clsight"),
        (
            "src/clsight/models.py",
            "if TYPE_CHECKING:\n    import clsight_app",
            "models may not import clsight_app",
        ),
        ("src/clsight/figures.py", "import_module('clsight.cli')", "figures may not import cli"),
        ("src/clsight/errors.py", "class A:\n    from clsight import models", "errors may not import models"),
        ("src/clsight/analysis/a.py", "import torch.nn as nn", "analysis may not import torch"),
        ("src/clsight/analysis/a.py", "def f():\n    import plotly", "analysis may not import plotly"),
        ("src/clsight/statistics/a.py", "import torch", "statistics may not import torch"),
        ("src/clsight/figures.py", "from dash import html", "figures may not import dash"),
        ("src/clsight/hooks/a.py", "import transformers", "hooks may not import transformers"),
        ("app/clsight_app/a.py", "from torch import Tensor", "clsight_app may not import torch"),
        ("app/clsight_app/a.py", "from clsight.cli import main", "clsight_app may not import cli"),
        ("src/clsight/cli.py", "from clsight.hooks import capture", "only inside a function"),
        ("src/clsight/unknown.py", "from clsight.errors import ClsightError", "unknown has no stage"),
    ],
)
def test_import_check_fails_on_a_wrong_import(tmp_path: Path, file: str, source: str, complaint: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text("import numpy\n" + source + "\n")
    [found] = violations(tmp_path, HOMES)
    assert found.startswith(file)
    assert complaint in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("src/clsight/figures.py", "import plotly\nfrom clsight.analysis import entropy"),
        ("src/clsight/hooks/a.py", "import torch\nfrom .kernels import b\nfrom clsight import __version__"),
        ("src/clsight/cli.py", "def f():\n    import clsight\n    from clsight_app import serve"),
        ("app/clsight_app/a.py", "import clsight\nfrom dash import html\nfrom clsight_app import ids"),
    ],
)
def test_import_check_allows_an_earlier_stage(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source + "\n")
    assert violations(tmp_path, HOMES) == []


def test_importing_clsight_loads_no_heavy_library() -> None:
    assert heavy_after("import clsight") == set()


@pytest.mark.parametrize("name", ["figures", "load"])
def test_light_import_check_fails_when_a_lazy_name_is_used(name: str) -> None:
    assert heavy_after(f"import clsight; clsight.{name}") & {"plotly", "torch"}


@pytest.mark.parametrize("stage", ["records", "analysis", "statistics", "figures", "summary"])
def test_stages_after_the_record_load_no_torch(stage: str) -> None:
    assert heavy_after(f"import clsight.{stage}").isdisjoint({"torch", "dash"})


def test_importing_the_app_package_loads_no_heavy_library() -> None:
    assert heavy_after("import clsight_app") == set()


@pytest.mark.parametrize(
    "package",
    [
        "clsight",
        "clsight.analysis",
        "clsight.statistics",
        "clsight.interventions",
        "clsight.faithfulness",
        "clsight.study",
        "clsight.figures",
        "clsight_app",
    ],
)
def test_public_functions_stay_functions_when_every_submodule_is_imported(package: str) -> None:
    assert functions_hidden_by_modules(package) == []


def test_hidden_function_check_fails_when_a_module_has_the_name_of_a_function(tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    lazy = "def __getattr__(name):\n    from pack.deep import shout\n    return shout\n"
    (tmp_path / "pack" / "__init__.py").write_text(f"__all__ = ['shout']\n{lazy}")
    (tmp_path / "pack" / "deep.py").write_text("def shout(): ...\n")
    assert functions_hidden_by_modules("pack", tmp_path) == []
    (tmp_path / "pack" / "shout.py").write_text("")
    assert functions_hidden_by_modules("pack", tmp_path) == ["shout"]


def test_all_lists_every_lazy_public_name() -> None:
    public = set(clsight.__all__)
    assert public == clsight._HOME_OF.keys() | clsight._SUBMODULES | {"__version__"}
    assert clsight.__all__ == sorted(clsight.__all__)
    assert dir(clsight) == clsight.__all__


def test_every_public_name_of_clsight_resolves() -> None:
    assert [name for name in clsight.__all__ if getattr(clsight, name, None) is None] == []


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'clsight' has no attribute 'entropi'"):
        clsight.entropi  # noqa: B018
