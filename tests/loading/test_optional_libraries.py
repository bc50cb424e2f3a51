"""A library that is missing or does not import is one sentence with a next step, in a process of its own."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

LOAD = """
import sys
{before}
import clsight
from clsight.errors import CheckpointError
try:
    clsight.load(sys.argv[1], architecture="{architecture}")
except CheckpointError as error:
    print(error)
"""
BROKEN = """
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Broken())
"""  # what torchvision's wheel of the registry does beside a torch for the CPU
FIRST = """
import clsight
try:
    clsight.load(sys.argv[1], architecture="timm:test_vit")
except clsight.CheckpointError:
    pass
"""
HIDDEN = ("torchvision", "timm", "open_clip", "PIL")
TIMM, OPEN_CLIP, TORCHVISION = "timm:test_vit", "open_clip:ViT-B-32", "torchvision:vit_b_16"


def says(file, architecture, before):
    """Return what a user reads who loads the file in a fresh process, after some lines of Python."""
    code = LOAD.format(before=before, architecture=architecture)
    command = [sys.executable, "-W", "error", "-c", code, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "module", "package", "extra"),
    [(TIMM, "timm", "timm", "timm"), (OPEN_CLIP, "open_clip", "open_clip_torch", "open-clip")],
)
def test_a_missing_library_gives_the_pip_command(file, architecture, module, package, extra):
    found = says(file, architecture, f"sys.modules['{module}'] = None")
    assert found == (
        f"`{package}`: expected an installed package, but got no module `{module}`. "
        f"Run pip install 'clsight[{extra}]'."
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "package"), [(TIMM, "timm"), (OPEN_CLIP, "open_clip_torch")], ids=["timm", "open_clip"]
)
def test_a_torchvision_that_does_not_fit_torch_gives_a_next_step(file, architecture, package):
    assert says(file, architecture, BROKEN) == (
        f"`{package}`: expected a package that imports, but got RuntimeError: operator torchvision::nms does "
        "not exist. Likely torchvision and torch are not of one build: install both from one index, as in "
        "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu."
    )


@pytest.mark.slow
def test_a_second_try_after_a_failed_import_says_the_same(file):
    assert says(file, TIMM, BROKEN + FIRST) == says(file, TIMM, BROKEN)


@pytest.mark.slow
def test_weights_of_torchvision_need_none_of_them(file):
    before = "; ".join(f"sys.modules['{name}'] = None" for name in HIDDEN)
    assert "encoder.pos_embedding" in says(file, TORCHVISION, before)
