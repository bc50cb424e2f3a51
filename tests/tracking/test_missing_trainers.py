"""The callbacks' classes are made on first use, of the library that is there; else a sentence names it."""

import os
import subprocess
import sys

import pytest

TOLD = """
import sys
sys.modules[sys.argv[2]] = None  # as if it were not installed
import clsight
try:
    getattr(clsight.tracking, sys.argv[1])
except clsight.ClsightError as error:
    print(error)
"""

OF_THE_OTHER_PACKAGE = """
import warnings
warnings.simplefilter("ignore")
import sys
from encoder_builders import declare_torchvision_operators
declare_torchvision_operators()
import pytorch_lightning
from clsight.tracking import LightningCallback
print("lightning.pytorch" in sys.modules, issubclass(LightningCallback, pytorch_lightning.Callback))
"""


def printed(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("callback", "library", "extra"),
    [
        ("TransformersCallback", "transformers", "huggingface"),
        ("LightningCallback", "lightning", "lightning"),
    ],
)
def test_missing_library_is_told_when_its_callback_is_asked_for(callback, library, extra):
    assert printed(TOLD, callback, library) == (
        f"`{library}`: expected an installed package, but got no module `{library}`. "
        f"Run pip install 'clsight[{extra}]'."
    )


@pytest.mark.slow
def test_callback_is_one_of_pytorch_lightning_where_that_is_what_was_imported():
    assert printed(OF_THE_OTHER_PACKAGE) == "False True"
