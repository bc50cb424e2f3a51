"""The models the app was started with, their examples, and the records captured from them.

Everything heavy lives here, on the server: subjects and records in caches bounded in bytes. A CLS that is
redrawn at each forward is drawn from a seed of its own for each example, so that a link shows the same view.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xarray

import clsight
from clsight.doctor import Findings
from clsight.errors import AppError
from clsight.loading import Examples, Subject
from clsight_app.cache import ByteCache
from clsight_app.code import loading_code
from clsight_app.own_input import checked_size, picture_seen, typed_input
from clsight_app.state import Asked
from clsight_app.uploads import Uploads

GIB = 1 << 30
FINDINGS_BYTES = 1 << 24
REMEMBERED_BYTES = 1 << 26


@dataclass(frozen=True)
class Source:
    """A model that is loaded when it is asked for.

    Attributes:
        name: What to call it.
        load: Loads it; called again when it was forgotten meanwhile.
        code: The lines of Python that make it as `subject`, for a notebook.
    """

    name: str
    load: Callable[[], Subject]
    code: str = "subject = ...  # as you made it"

    @classmethod
    def of(cls, path: Path, loading: Mapping[str, Any] | None = None) -> "Source":
        """Return the model at a path, loaded with these options of `clsight.load`."""
        options = loading or {}
        code = loading_code(path.resolve(), options)
        return cls(path.resolve().name, lambda: clsight.load(path, **options), code)


class Catalog:
    """Load models and capture their examples on demand, once each, from any number of threads.

    Args:
        models: The models in the order they are offered: folders, files, or sources with options.
        subject_bytes: Bound on the weights and examples held at once, in bytes.
        record_bytes: Bound on the records held at once, in bytes.

    Raises:
        AppError: There is no path.
    """

    def __init__(
        self,
        models: Sequence[Path | Source],
        *,
        subject_bytes: int = 4 * GIB,
        record_bytes: int = GIB // 2,
    ) -> None:
        if not models:
            raise AppError(
                "models", expected="at least one model", got="none", next_step="Give a model folder to show"
            )
        sources = [each if isinstance(each, Source) else Source.of(each) for each in models]
        names = distinct_names([source.name for source in sources])
        self._sources = dict(zip(names, sources, strict=True))
        self._subjects = ByteCache[str, Subject](subject_bytes, subject_size)
        self._records = ByteCache[tuple[str, Asked, frozenset[str]], xarray.Dataset](
            record_bytes, lambda record: record.nbytes
        )
        self._findings = ByteCache[str, Findings](FINDINGS_BYTES, lambda findings: len(findings.to_json()))
        self._remembered = ByteCache[Hashable, Any](REMEMBERED_BYTES, _size)
        self.uploads = Uploads()
        self._capturing = {name: Lock() for name in self._sources}

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, each once."""
        return tuple(self._sources)

    @property
    def first(self) -> str:
        """The model that is shown first: one whose CLS is learned, if there is one."""
        return next(
            (name for name in self.models if self.subject(name).strategy == "learned"), self.models[0]
        )

    def subject(self, model: str) -> Subject:
        """Return the model of this name, loaded."""
        return self._subjects.get(model, self._sources[model].load)

    def code(self, model: str) -> str:
        """Return the lines of Python that make the model of this name as `subject`."""
        return self._sources[model].code

    def load_all(self) -> None:
        """Load every model once, so that one that cannot be loaded is told at the start."""
        for model in self.models:
            self.subject(model)

    def examples(self, model: str) -> Examples:
        """Return the examples that came with a model.

        Raises:
            AppError: None came with it.
        """
        examples = self.subject(model).examples
        if examples is None or len(examples) == 0:
            raise AppError(
                model,
                expected="a model with examples",
                got="none",
                next_step="Choose another model, or put an examples file into a clsight folder",
            )
        return examples

    def input(self, model: str, asked: Asked) -> Examples:
        """Return what a model is run on: one example, or the user's own input, read for this model.

        Raises:
            AppError: It has more than one sample or more tokens than can be shown.
            ClsightError: The input does not fit the model.
        """
        if asked.is_example:
            return self.examples(model)[asked.sample]
        if asked.given:
            return checked_size(self.subject(model), self.uploads.read(asked.given, self.subject(model)))
        return typed_input(self.subject(model), asked)

    def image(self, model: str, asked: Asked | int) -> np.ndarray[Any, Any] | None:
        """Return the picture behind an input, None where inputs are not pictures cut into patches."""
        if "row" not in self.record(model, asked).coords:
            return None
        wanted = _asked(asked)
        seen: np.ndarray[Any, Any] = self.remembered(
            ("image", model, wanted), lambda: picture_seen(self.subject(model), self.input(model, wanted))
        )
        return seen

    def remembered(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what was made for a key: a picture or sentences that follow from a model and an input."""
        return self._remembered.get(key, make)

    def text(self, model: str, asked: Asked) -> str:
        """Return the text of an input, the first of a pair; empty where the model takes no text."""
        if self.subject(model).takes != "text":
            return ""
        inputs = self.input(model, asked).inputs
        return str(inputs[0] if inputs.ndim == 1 else inputs[0, 0])

    def record(self, model: str, asked: Asked | int, keep: Iterable[str] = ()) -> xarray.Dataset:
        """Return the record of one input (`sample=1`), captured at the first call.

        Args:
            model: Name of a model.
            asked: What it is run on; a number is the index of an example.
            keep: What to keep beyond the plain record, see `clsight.hooks.KEEP`.
        """
        wanted, also = _asked(asked), frozenset(keep)
        return self._records.get((model, wanted, also), lambda: self._capture(model, wanted, also))

    def findings(self, model: str) -> Findings:
        """Return what the doctor finds in a model on its examples, made at the first call."""
        return self._findings.get(model, lambda: clsight.diagnose(self.subject(model)))

    def peers(self, model: str) -> tuple[str, ...]:
        """Return the models whose examples equal those of `model`, itself included, in their order."""
        own = self.examples(model)
        return tuple(name for name in self.models if _same(own, self.subject(name).examples))

    def _capture(self, model: str, asked: Asked, keep: frozenset[str]) -> xarray.Dataset:
        subject, shown = self.subject(model), self.input(model, asked)
        with self._capturing[model]:
            subject.reseed(asked.sample)  # a CLS that is redrawn is the same in every record of this input
            return clsight.capture(subject, shown, keep={"vectors", *keep})


def _asked(asked: Asked | int) -> Asked:
    return Asked(sample=asked) if isinstance(asked, int) else asked


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return each name, numbered from the second on where it repeats."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


def subject_size(subject: Subject) -> int:
    """Return the bytes of a model's parameters, buffers and examples."""
    tensors = [*subject.module.parameters(), *subject.module.buffers()]
    examples = subject.examples.inputs.nbytes if subject.examples is not None else 0
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) + int(examples)


def _size(remembered: Any) -> int:
    return int(remembered.nbytes if hasattr(remembered, "nbytes") else len(repr(remembered)))


def _same(one: Examples, other: Examples | None) -> bool:
    return other is not None and np.array_equal(one.inputs, other.inputs)
