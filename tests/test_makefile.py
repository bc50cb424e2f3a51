"""`make app` serves where the reader says, on the command line or in the environment."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def served_by(*arguments: str, **environment: str) -> str:
    """Return the command that `make app` would end with."""
    given = {key: value for key, value in os.environ.items() if key not in ("HOST", "PORT", "MODELS")}
    command = ["make", "--dry-run", "--no-print-directory", "app", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=given | environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()[-1].strip()


@pytest.mark.parametrize(
    ("arguments", "environment", "options"),
    [
        ([], {}, "--host 127.0.0.1 --port 8050"),
        ([], {"PORT": "8061", "HOST": "0.0.0.0", "MODELS": "a b"}, "--host 0.0.0.0 --port 8061 a b"),
        (["PORT=8062"], {"PORT": "8061"}, "--host 127.0.0.1 --port 8062"),
    ],
)
def test_make_app_serves_where_it_is_told(
    arguments: list[str], environment: dict[str, str], options: str
) -> None:
    assert served_by(*arguments, **environment) == f".venv/bin/clsight app {options}"
