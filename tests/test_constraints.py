"""constraints.txt pins what pyproject.toml asks for, by plain versions that hold on every platform."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SPEAKERS = (ROOT / "constraints-speakers.txt").read_text(encoding="utf-8").splitlines()


def pins(lines: list[str]) -> dict[str, str]:
    """Return the version that each line after the header pins, by name."""
    return {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines[1:])}


PINS, OWN_PINS = pins(LINES), pins(SPEAKERS)


def requirements() -> list[Requirement]:
    """Return everything pyproject.toml asks for: extras too, except clsight itself and speakers."""
    named = PROJECT["optional-dependencies"]
    extras = [text for extra, texts in named.items() if extra != "speakers" for text in texts]
    asked = [Requirement(text) for text in [*PROJECT["dependencies"], *extras]]
    return [requirement for requirement in asked if requirement.name != "clsight"]


def test_constraints_are_a_header_and_plain_pins() -> None:
    assert LINES[0].startswith("# ")
    assert [
        line for line in LINES[1:] if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)
    ] == []
    assert "torch==2.13.0" in LINES


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_constraints_pin_a_version_that_the_project_allows(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_environment_of_speakers_pins_what_differs_and_what_its_extra_asks_for() -> None:
    assert [name for name, pin in OWN_PINS.items() if PINS.get(name) == pin] == []
    allowed = [
        Requirement(text)
        for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["speakers"]]
    ]
    for requirement in allowed:
        if requirement.name != "clsight":
            name = canonicalize_name(requirement.name)
            assert requirement.specifier.contains(OWN_PINS.get(name, PINS.get(name, "")))


def test_installed_versions_are_the_pinned_ones() -> None:
    installed = {canonicalize_name(found.name): found.version for found in distributions()}
    here = {name: installed[name].partition("+")[0] for name in PINS if name in installed}  # `+cpu`: a build
    assert here == {name: PINS[name] for name in here}
    assert {canonicalize_name(requirement.name) for requirement in requirements()} <= here.keys()
