"""An app over one model of pictures, one of words and one of sequences, for the pages on all examples."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import clsight
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.saving import save_model
from hostile_model import save_hostile_model
from serving import free_port, server

ROOT = Path(__file__).resolve().parents[1]
SERIES = "waves"
SERVE = """
import sys
from pathlib import Path
from clsight_app import serve
serve([Path(name) for name in sys.argv[2:]], host="127.0.0.1", port=int(sys.argv[1]), open_browser=False)
"""


@contextmanager
def serving_three_kinds(
    folder: Path, models: Sequence[str] = ("digits-learned", "digits-zeros")
) -> Iterator[str]:
    """Serve sample models, the hostile one of words and one of sequences; give the address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    paths = [clsight.sample_models_dir() / name for name in models]
    paths += [save_hostile_model(folder), save_series_model(folder)]
    command = [sys.executable, "-c", SERVE, str(port), *map(str, paths)]
    with server(command, url=address, folder=ROOT):
        yield address


def save_series_model(folder: Path) -> Path:
    """Write an untrained model of sequences, with nine of them as examples; return its path."""
    config = ModelConfig(
        classes=3, width=12, heads=2, layers=2, embedding="linear", features=4, max_time=6, seed=7
    )
    inputs = np.random.default_rng(5).normal(size=(9, 6, 4)).astype(np.float32)
    arrays = {"inputs": inputs, "labels": np.arange(9) % 3}
    save_model(ClassificationTransformer(config), folder / SERIES, classes=("a", "b", "c"), arrays=arrays)
    return folder / SERIES
