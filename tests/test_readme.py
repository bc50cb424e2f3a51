"""Every Python block of the README runs as it stands; every shell line runs, or is known not to run here."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

FETCH = (
    "import sys, urllib.request; open('shown.html', 'wb').write(urllib.request.urlopen(sys.argv[1]).read())"
)

NOT_RUN_HERE = {
    "make app": "serves until it is interrupted; test_cli.py and test_wheel.py serve the dashboard",
    "make app TORCH_INDEX=https://download.pytorch.org/whl/cpu": "the reader's choice of a download",
    "make test": "runs this very test",
    "clsight app sample_models/digits-learned sample_models/digits-zeros": "as `make app`",
}


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """Return the commands of all bash blocks, one a line, without their comments."""
    lines = "".join(blocks(text, "bash")).splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return an empty folder that holds the sample models, as a checkout does."""
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    """Run a command in a folder with a browser that saves the page it is shown as `shown.html`."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "PLOTLY_RENDERER": "browser",
        "BROWSER": f"{shlex.join([sys.executable, '-c', FETCH])} %s &",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shown_page(folder: Path) -> str:
    """Return the page a figure was shown as, once the browser, which runs on its own, has saved it whole."""
    page = folder / "shown.html"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if page.exists() and "</html>" in (text := page.read_text(encoding="utf-8")):
            return text
        time.sleep(0.05)
    raise TimeoutError("no page was shown within 20 s")


def test_readme_has_blocks_of_both_languages() -> None:
    assert len(blocks(README, "python")) >= 3
    assert {"make app", "make test"} <= set(commands(README))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
def test_readme_python_block_runs(number: int, checkout: Path) -> None:
    code = blocks(README, "python")[number]
    run([sys.executable, "-W", "error", "-c", code], checkout)
    if ".show()" in code:
        assert "Plotly.newPlot" in shown_page(checkout)


@pytest.mark.slow
def test_readme_commands_run_in_their_order(checkout: Path) -> None:
    here = [command for command in commands(README) if command not in NOT_RUN_HERE]
    assert here, "the README shows no command that can run here"
    for command in here:
        assert run(shlex.split(command), checkout).strip(), f"{command} printed nothing"


def test_readme_commands_that_do_not_run_here_are_in_the_readme() -> None:
    assert NOT_RUN_HERE.keys() <= set(commands(README))


def test_readme_links_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert missing == []


def test_block_reader_finds_a_block_and_its_commands() -> None:
    text = "a\n```bash\n# why\nmake app  # serves\n\nclsight show x\n```\n```python\nprint(1)\n```\n"
    assert blocks(text, "python") == ["print(1)\n"]
    assert commands(text) == ["make app", "clsight show x"]


def test_block_runner_fails_when_a_block_raises(checkout: Path) -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run([sys.executable, "-c", "1 / 0"], checkout)
