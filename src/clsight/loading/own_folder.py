"""clsight's own model folders, the sample models among them, and models made in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsight import __version__
from clsight.checkpoints import CONFIG_FILE, EXAMPLES_FILE, FORMAT, Checkpoint, read_model
from clsight.errors import CheckpointError, ClsightError
from clsight.loading.picture_transform import PictureTransform, gray
from clsight.loading.raw_data import joined, read_ids, read_pictures, read_series
from clsight.loading.raw_files import is_numbers, numbers_in
from clsight.loading.subject import ClsVector, Subject, Takes
from clsight.models import ClassificationTransformer, ModelConfig
from clsight.preparation import Examples, preparation_for
from clsight.schema import TokenKind

_TAKES: dict[str, Takes] = {"token": "token_ids", "patch": "image", "linear": "series", "none": "series"}
_KIND: dict[str, TokenKind] = {"token": "word", "patch": "patch", "linear": "step", "none": "step"}


def read_own_folder(folder: Path) -> Subject:
    """Return the subject in a folder that clsight wrote.

    Raises:
        CheckpointError: If there is no such folder, it is not clsight's, or a file in it is broken.
    """
    checkpoint = read_model(folder)
    subject = as_subject(
        checkpoint.model,
        name=folder.resolve().name,
        classes=checkpoint.classes,
        examples=_examples_of(folder, checkpoint),
    )
    subject.provenance = {
        "path": str(folder),
        "format": FORMAT,
        "sha256": checkpoint.sha256,
        "saved_with": str(checkpoint.settings.get("clsight_version", "")),
        "torch": torch.__version__,
        "missing": {},
        "unexpected": {},
    }
    return subject


def as_subject(
    model: ClassificationTransformer,
    *,
    name: str,
    classes: tuple[str, ...] | None = None,
    examples: Examples | None = None,
) -> Subject:
    """Make a subject of a model in memory, such as one just trained; the model is put in eval mode.

    Args:
        model: The model.
        name: What to call it in a title.
        classes: A name per class; by default the class numbers.
        examples: Examples that fit the model.
    """
    config, vector = model.config, getattr(model.cls_token, "vector", None)
    return Subject(
        module=model.eval(),
        name=name,
        cls_index=model.cls_token.readout_index,
        strategy=config.strategy,
        seed=config.seed,
        classes=classes if classes is not None else tuple(str(number) for number in range(config.classes)),
        examples=examples,
        provenance={"format": "in memory", "torch": torch.__version__, "clsight": __version__},
        preparation=preparation_for(model),
        takes=_TAKES[config.embedding],
        token_kinds=("cls", _KIND[config.embedding])
        if model.cls_token.in_sequence
        else (_KIND[config.embedding],),
        cls_vector=ClsVector(vector) if isinstance(vector, torch.Tensor) else None,
        reading=_reading(config),
        classifies=True,
    )


def _reading(config: ModelConfig) -> Callable[[Any], Examples]:
    """Return what turns arrays, files and text into examples of such a model."""
    if config.embedding == "token":
        return read_ids
    if config.embedding == "patch":
        assert config.image_size is not None
        height, width = config.image_size
        squeezed = PictureTransform(
            resize=(height, width), size=(height, width), fit="squash", mean=(0, 0, 0), std=(1, 1, 1)
        )
        return lambda raw: _images(raw, squeezed)
    return read_series


def _images(raw: Any, transform: PictureTransform) -> Examples:
    """Return images as numbers [sample, height, width]; files of pictures as brightness from 0 to 1.

    Args:
        raw: An array [height, width] or [sample, height, width]; the path of one as `.npy`, `.csv` or `.txt`;
            the path of a picture, which is scaled to the model's size; or a list of these.
        transform: To the model's size.
    """
    if isinstance(raw, list | tuple):
        return joined([_images(one, transform) for one in raw])
    if isinstance(raw, str | Path):
        if not is_numbers(Path(raw)):
            return Examples(gray(transform(read_pictures(raw).inputs)))
        raw = numbers_in(Path(raw))
    return Examples(raw[None] if isinstance(raw, np.ndarray) and raw.ndim == 2 else raw)


def sample_models_dir() -> Path:
    """Return the folder of the sample models: inside the installed package, or of the checkout.

    Raises:
        CheckpointError: If the installation has none.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "sample_models", package.parents[1] / "sample_models")
    for folder in candidates:
        if any(folder.glob(f"*/{CONFIG_FILE}")):
            return folder
    raise CheckpointError(
        "sample models",
        expected=f"model folders in {candidates[0]} or {candidates[1]}",
        got="none",
        next_step="Install clsight anew, or run `make samples` in a checkout",
    )


def _examples_of(folder: Path, checkpoint: Checkpoint) -> Examples | None:
    """Return the folder's examples after a trial preparation, so that a bad file is found at once."""
    arrays = checkpoint.arrays
    if not arrays:
        return None
    file = folder / EXAMPLES_FILE
    known = {"inputs", "labels", "token_mask"}
    if "inputs" not in arrays or not arrays.keys() <= known:
        got = ", ".join(sorted(arrays))
        expected = "`inputs`, and nothing but `labels` and `token_mask` beside it"
        raise CheckpointError(str(file), expected=expected, got=got, next_step="Write the examples anew")
    try:
        examples = Examples(arrays["inputs"], arrays.get("labels"), arrays.get("token_mask"))
        preparation_for(checkpoint.model)(examples)
        _check_labels(examples, len(checkpoint.classes))
    except ClsightError as error:
        raise CheckpointError(
            error.subject,
            expected=error.expected,
            got=error.got,
            where=f"In {file}",
            next_step=error.next_step,
        ) from error
    return examples


def _check_labels(examples: Examples, classes: int) -> None:
    labels = examples.labels
    if labels is not None and (labels.min() < 0 or labels.max() >= classes):
        got = f"{labels.min()} to {labels.max()}"
        raise ClsightError(
            "labels", expected=f"0 to {classes - 1}", got=got, next_step="Write the examples anew"
        )
