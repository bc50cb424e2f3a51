"""Write constraints.txt: install `.[dev]` unpinned into a fresh environment and list what came.

TORCH_INDEX in the environment names another index for torch alone. Local version suffixes (`+cpu`) are cut,
so that the pins hold for every build of a version.
"""

import os
import re
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = (
    "# Every package that `pip install -e .[dev]` installs, pinned. "
    "Regenerate in a fresh environment: `make constraints`.\n"
)


def install(python: str, *words: str) -> None:
    """Run pip install in the fresh environment."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", *words], cwd=ROOT, check=True)


def frozen(python: str) -> str:
    """Return `name==version` lines of all that is installed there except pip and clsight itself."""
    command = [python, "-m", "pip", "freeze", "--all", "--exclude-editable", "--exclude", "pip"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"\+\S+$", "", lines, flags=re.MULTILINE)


def main() -> None:
    """Write the file once everything is known; a failed install leaves the old one."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "bin", "python"))
        if index := os.environ.get("TORCH_INDEX"):
            install(python, "--no-deps", "--index-url", index, "torch")
        install(python, "-e", ".[dev]")
        (ROOT / "constraints.txt").write_text(HEADER + frozen(python), encoding="utf-8")


if __name__ == "__main__":
    main()
