"""The terminal commands: what they print and write, how fast help is, and that a problem is one sentence."""

import json
import resource
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import clsight
from clsight import cli
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model
from clsight.summary import summary_lines
from hand_made import patch_record
from serving import fetch, free_port, server

COMMAND = str(Path(sys.executable).with_name("clsight"))
HEAVY = {"torch", "numpy", "xarray", "pandas", "scipy", "zarr", "plotly", "dash"}
HELP_SECONDS = 0.3
FOOTPRINT = """
import json, sys
from clsight.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(json.dumps(sorted(sys.modules)))
"""


def run(*arguments: object) -> Result:
    """Run a clsight command in this process; an exception that is not an exit is raised here."""
    return CliRunner().invoke(cli.main, [str(each) for each in arguments], catch_exceptions=False)


def sentence(result: Result) -> str:
    """Return the one sentence on stderr of a command that ended with exit code 2 and printed nothing else."""
    assert result.exit_code == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: `")
    return line


def modules_loaded_by(*arguments: str) -> set[str]:
    """Return the modules a fresh process has loaded when a command is done."""
    command = [sys.executable, "-c", FOOTPRINT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def processor_seconds(*command: str) -> float:
    """Return the processor time that a command takes, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small model with five examples of its own: 3 layers, 2 heads, [CLS] and 6 steps."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = ModelConfig(
        classes=4, width=8, heads=2, layers=3, feedforward=12, embedding="linear", features=5
    )
    inputs = np.random.default_rng(3).normal(size=(5, 6, 5)).astype(np.float32)
    save_model(ClassificationTransformer(config), folder, arrays={"inputs": inputs})
    return folder


def test_help_answers_at_once() -> None:
    # Processor time, the smallest of some: help waits for nothing, so on an idle machine this is its wall
    # time, and other programs hardly change it.
    assert min(processor_seconds(COMMAND, "--help") for _ in range(5)) < HELP_SECONDS


@pytest.mark.parametrize("arguments", [(), ("app",), ("capture",), ("doctor",), ("show",)])
def test_help_loads_no_heavy_library(arguments: tuple[str, ...]) -> None:
    assert HEAVY.isdisjoint(modules_loaded_by(*arguments, "--help"))


def test_footprint_check_fails_when_a_command_loads_a_heavy_library(tmp_path: Path) -> None:
    assert "xarray" in modules_loaded_by("show", str(tmp_path / "absent.zarr.zip"))


def test_help_names_every_command() -> None:
    text = run("--help").stdout
    assert all(f"  {name} " in text for name in ("app", "capture", "doctor", "show"))
    assert "\b" not in text


def test_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"clsight {clsight.__version__}\n"


def test_capture_saves_what_python_captures(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.zarr.zip"
    printed = run("capture", model, "--out", out)
    assert printed.exit_code == 0
    saved = clsight.open_record(out)
    subject = clsight.load(model)
    expected = clsight.capture(subject, subject.examples)
    for name in ("attends_to", "attended_by", "logits"):
        np.testing.assert_array_equal(saved[name], expected[name])
    assert printed.stdout.startswith(f"Saved {out}: tiny, 5 examples, 3 layers, 2 heads, 7 tokens, ")
    assert len(printed.stdout.splitlines()) == 1


def test_capture_takes_the_first_examples_when_asked_for_some(model: Path, tmp_path: Path) -> None:
    run("capture", model, "--out", tmp_path / "all.zarr.zip")
    run("capture", model, "--out", tmp_path / "two.zarr.zip", "--examples", 2)
    every, two = (clsight.open_record(tmp_path / f"{name}.zarr.zip") for name in ("all", "two"))
    assert two.sizes["sample"] == 2
    np.testing.assert_allclose(two["attends_to"], every["attends_to"][:2], atol=1e-6)  # float32, other batch


def test_capture_replaces_an_older_record(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.zarr.zip"
    out.write_text("older")
    assert run("capture", model, "--out", out).exit_code == 0
    assert clsight.open_record(out).sizes["sample"] == 5


def test_capture_takes_the_name_of_a_sample_model(tmp_path: Path) -> None:
    out = tmp_path / "digits.zarr.zip"
    assert run("capture", "digits-learned", "--out", out, "--examples", 3).exit_code == 0
    assert clsight.open_record(out).attrs["strategy"] == "learned"


def test_unknown_model_is_a_sentence_with_the_nearest_name(tmp_path: Path) -> None:
    line = sentence(run("capture", "digits-lerned", "--out", tmp_path / "x.zarr.zip"))
    assert (
        "`digits-lerned`: expected a model folder or file, or the name of a sample model, but got neither."
        in line
    )
    assert "Did you mean `digits-learned`?" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "examples.safetensors"])
def test_damaged_model_is_a_sentence_and_leaves_no_file(model: Path, tmp_path: Path, file: str) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    (damaged / file).write_bytes((damaged / file).read_bytes()[:-7])
    sentence(run("capture", damaged, "--out", tmp_path / "x.zarr.zip"))
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_capture_of_more_examples_than_there_are_is_a_sentence(model: Path, tmp_path: Path) -> None:
    line = sentence(run("capture", model, "--out", tmp_path / "x.zarr.zip", "--examples", 6))
    assert "expected at most 5 examples, as many as the folder holds, but got --examples 6." in line


def test_capture_without_examples_is_a_sentence(model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    save_model(clsight.load(model).module, bare)
    line = sentence(run("capture", bare, "--out", tmp_path / "x.zarr.zip"))
    assert "expected a model with examples, but got none." in line


@pytest.mark.parametrize("name", ["record.zip", "absent/record.zarr.zip"])
def test_unsuitable_out_is_a_sentence_and_leaves_no_file(model: Path, tmp_path: Path, name: str) -> None:
    sentence(run("capture", model, "--out", tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_empty_out_is_a_sentence(model: Path) -> None:
    assert "expected a file name ending in .zarr.zip, but got ''." in sentence(
        run("capture", model, "--out", "")
    )


def test_unsuitable_out_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    assert ".zarr.zip" in sentence(run("capture", tmp_path / "no-model", "--out", tmp_path / "record.zip"))


def test_show_prints_the_summary_of_the_record(tmp_path: Path) -> None:
    record = patch_record().record
    clsight.save_record(record, tmp_path / "made.zarr.zip")
    shown = run("show", tmp_path / "made.zarr.zip")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == list(summary_lines(record))


def test_show_of_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    assert "but got no file of that name" in sentence(run("show", tmp_path / "absent.zarr.zip"))


def test_show_of_a_foreign_file_is_a_sentence(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.zarr.zip"
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("letter.txt", "hello")
    sentence(run("show", foreign))


def test_show_of_a_model_folder_says_how_to_record_it(model: Path) -> None:
    line = sentence(run("show", model))
    assert line.endswith(f"record it first: clsight capture {model} --out tiny.zarr.zip.")


def test_missing_argument_is_exit_code_2() -> None:
    assert run("show").exit_code == 2
    assert run("capture", "digits-learned").exit_code == 2


def test_app_names_the_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dash", None)  # as Python itself marks a module that is not there
    line = sentence(run("app", "--no-browser"))
    assert "but got no dash. Install them with: pip install 'clsight[app]'." in line


def test_app_on_a_port_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = sentence(run("app", "--no-browser", "--port", port))
    assert f"`127.0.0.1:{port}`: expected a free address" in line


@pytest.mark.parametrize(
    ("platform", "variables", "opens"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ""}, False),
        ("darwin", {}, True),
    ],
)
def test_browser_opens_only_where_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], opens: bool
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli._has_display() is opens


def test_sample_models_begin_with_the_learned_one() -> None:
    names = [folder.name for folder in cli._sample_models()]
    assert names[0] == "digits-learned"
    assert {"digits-zeros", "digits-fixed-random", "digits-random-per-forward"} <= set(names)


@pytest.mark.slow
def test_app_serves_the_named_model_until_it_is_interrupted(model: Path, tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [COMMAND, "app", str(model), "--port", str(port), "--no-browser"]
    with server(command, url=address, folder=tmp_path) as process:
        assert process.stdout is not None
        assert address in process.stdout.readline()
        assert "clsight" in fetch(address)
    assert process.returncode == 0
