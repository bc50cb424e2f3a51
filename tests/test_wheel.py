"""The built wheel works in an empty environment, away from the checkout: command, capture, dashboard."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from serving import fetch, free_port, server

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ("learned", "zeros", "fixed-random", "random-per-forward")

CAPTURE = """
import json
import clsight, clsight_app
subject = clsight.load(clsight.sample_models_dir() / "digits-learned")
record = clsight.capture(subject, subject.examples[:3])
sums = record["attends_to"].sum("token")
found = [clsight.__file__, clsight_app.__file__, record.sizes["sample"], float(abs(sums - 1).max())]
print(json.dumps(found))
"""


def run(command: list[str], folder: Path, seconds: float) -> str:
    """Run a command in a folder and return what it prints; fail with its own words when it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)], ROOT, 120)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel with the dashboard into an empty environment and return its folder of commands."""
    folder = tmp_path_factory.mktemp("empty")
    run([sys.executable, "-m", "venv", str(folder)], ROOT, 120)
    commands = folder / "bin"
    pip = [str(commands / "python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    if index := os.environ.get("TORCH_INDEX"):
        run([*pip, "--no-deps", "--index-url", index, "torch"], folder, 900)
    run([*pip, f"{wheel}[app]"], folder, 900)
    return commands


@pytest.mark.slow
def test_wheel_holds_both_packages_and_the_sample_models_but_no_script(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"clsight/py.typed", "clsight_app/py.typed", "clsight/cli.py", "clsight_app/__init__.py"} <= set(
        names
    )
    assert {f"clsight/sample_models/digits-{name}/model.safetensors" for name in SAMPLES} <= set(names)
    assert any(name.startswith("clsight_app/assets/") for name in names)
    assert [
        name for name in names if name.startswith("clsight/sample_models/") and name.endswith(".py")
    ] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_installed_wheel_shows_its_help(installed: Path, tmp_path: Path) -> None:
    assert "clsight app" in run([str(installed / "clsight"), "--help"], tmp_path, 30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_installed_wheel_captures_a_sample_model(installed: Path, tmp_path: Path) -> None:
    printed = run([str(installed / "python"), "-c", CAPTURE], tmp_path, 120)
    library, dashboard, samples, error = json.loads(printed)
    assert Path(library).is_relative_to(installed.parent)
    assert Path(dashboard).is_relative_to(installed.parent)
    assert samples == 3
    assert error < 1e-5  # float32 weights that sum to 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_installed_wheel_serves_the_dashboard(installed: Path, tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [str(installed / "clsight"), "app", "--port", str(port), "--no-browser"]
    with server(command, url=address, folder=tmp_path) as process:
        assert process.stdout is not None
        assert address in process.stdout.readline()
        assert "clsight" in fetch(address)
    assert list(tmp_path.iterdir()) == []
