"""From a path to a `Subject`: a model together with what is needed to ask it about its [CLS]."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clsight.checkpoints import CONFIG_FILE, EXAMPLES_FILE, FORMAT, Checkpoint, read_model
from clsight.errors import CheckpointError, ClsightError
from clsight.models import ClassificationTransformer
from clsight.preparation import Array, Examples, Prepared, preparation_for

__all__ = ["Examples", "Prepared", "Subject", "as_subject", "load", "sample_models_dir"]


@dataclass
class Subject:
    """A model and all that belongs to it.

    Attributes:
        module: The model, in eval mode.
        name: What to call it in a title.
        cls_index: Position that the answer is read off; None if it is an average. Whether [CLS] stands there
            is told by `Prepared.token_kind`: the strategy `first_token` has an ordinary token there.
        strategy: Name of the CLS initialization strategy; "" if unknown.
        seed: Seed of the model's weights; None if unknown.
        classes: A name per class.
        examples: Examples that came with the model; None without.
        provenance: Plain values that say where it is from: path, format, sha256, versions.
        preparation: Turns examples into what the module takes.
    """

    module: nn.Module
    name: str
    cls_index: int | None
    strategy: str
    seed: int | None
    classes: tuple[str, ...]
    examples: Examples | None
    provenance: dict[str, Any]
    preparation: Callable[[Examples], Prepared]

    def prepare(self, raw: Examples | Array) -> Prepared:
        """Turn raw examples into module inputs and a token map.

        Args:
            raw: Examples, or their inputs alone as an array [sample, ...].

        Raises:
            ClsightError: If the array does not fit the model: shape, dtype, NaN, no sample.
        """
        return self.preparation(raw if isinstance(raw, Examples) else Examples(raw))

    def reseed(self, seed: int | None = None) -> None:
        """Start the draws of a random [CLS] anew, so that the next forward pass can be repeated."""
        if isinstance(self.module, ClassificationTransformer):
            self.module.reseed(seed)


def load(path: str | Path) -> Subject:
    """Load a model folder that clsight wrote.

    Args:
        path: The folder, such as `sample_models_dir() / "digits-learned"`.

    Returns:
        The model in eval mode on the CPU, with its examples and its provenance.

    Raises:
        CheckpointError: If there is no such folder, it is not clsight's, or a file in it is broken.

    Example:
        >>> subject = load(sample_models_dir() / "digits-learned")
        >>> subject.strategy, subject.cls_index, len(subject.examples)
        ('learned', 0, 20)
    """
    checkpoint = read_model(path)
    folder = Path(path)
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
    config = model.config
    return Subject(
        module=model.eval(),
        name=name,
        cls_index=model.cls_token.readout_index,
        strategy=config.strategy,
        seed=config.seed,
        classes=classes if classes is not None else tuple(str(number) for number in range(config.classes)),
        examples=examples,
        provenance={"format": "in memory", "torch": torch.__version__},
        preparation=preparation_for(model),
    )


def sample_models_dir() -> Path:
    """Return the folder of the sample models: inside the installed package, or of the checkout.

    Raises:
        CheckpointError: If the installation has none.
    """
    package = Path(__file__).resolve().parent
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
        examples = Examples(**arrays)
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
