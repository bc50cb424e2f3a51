"""What would a trained model do if its [CLS] were something else? `clsight.cls_token.replaced`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from clsight.cls_strategy import ClsToken, make
from clsight.module_lock import lock_of
from clsight.replaceable import DRAWN, Loaded, check_replaceable, owners, refuse
from clsight.substitution import at_each_forward, attribute_read_as, row_embedded_as

Subject = TypeVar("Subject", bound=Loaded)


@contextmanager
def replaced(
    subject: Subject, strategy: str, seed: int = 0, *, std: float | None = None
) -> Iterator[Subject]:
    """Let another vector enter a loaded model as [CLS], inside the block and in this thread only.

    No weight is written: other rows of a word embedding, the same id at other positions, tied weights and
    torch's random state stay as they are; positions are still added. `subject.strategy` tells the strategy.
    Captures of this model in other threads wait for the end of the block. The inner of two blocks counts.

    Args:
        subject: From `clsight.load`; its [CLS] may be a parameter or a row of the word embedding.
        strategy: `zeros`; `fixed_random`; `random_per_forward`, new at each forward pass, for each sample its
            own but one for the batch where [CLS] is a parameter; `input_mean` for models of clsight.
        seed: Start of the draws, 0 or more.
        std: Standard deviation of the draws around 0, by default that of the trained vector's channels.

    Raises:
        ClsightError: If the strategy says nothing of a trained model (what is learned, or takes [CLS] out),
            the vector of [CLS] is not known, or a forward pass does not read it.

    Example:
        In MiniLM zeros move 16 % of the weight of [CLS] in the first layer, at most 2.2 % in the other five::

            trained = clsight.capture(subject, sentences)
            with clsight.cls_token.replaced(subject, "zeros"):
                zeros = clsight.capture(subject, sentences)
            abs(zeros.attends_to - trained.attends_to).sum("token").mean(["sample", "head"]) / 2
    """
    check_replaceable(subject, strategy, seed, std)
    with ExitStack() as undo:
        undo.enter_context(lock_of(subject.module))
        if isinstance(getattr(subject.module, "cls_token", None), ClsToken):
            _replace_strategy(undo, subject, strategy, seed, std)
        else:
            _replace_vector(undo, subject, strategy, seed, std)
        undo.callback(setattr, subject, "strategy", subject.strategy)
        subject.strategy = strategy
        yield subject


def _replace_strategy(undo: ExitStack, subject: Loaded, strategy: str, seed: int, std: float | None) -> None:
    """Give a model of clsight another strategy, which sees the tokens and draws for each sample."""
    trained = subject.module.cls_token
    assert isinstance(trained, ClsToken)
    options = {"std": float(std or _own_std(subject, trained))} if strategy in DRAWN else {}
    other = make(strategy, trained.width, seed=seed, **options).train(trained.training)
    undo.enter_context(attribute_read_as(subject.module, "cls_token", lambda: other))


def _replace_vector(undo: ExitStack, subject: Loaded, strategy: str, seed: int, std: float | None) -> None:
    """Let another vector be read where the module reads its own, and make sure that it is read."""
    place = subject.cls_vector
    assert place is not None
    std = std or (_own_std(subject, None) if strategy in DRAWN else 0.0)
    vectors = _vectors(strategy, place.values.numel(), seed, float(std))
    watch = _Watch(subject, vectors)
    open_watches = _open.setdefault(subject.module, [])
    open_watches.append(watch)
    undo.callback(open_watches.pop)
    undo.enter_context(at_each_forward(subject.module, watch.start, watch.finish))
    for owner, name in owners(subject.module, place):
        if place.row is not None:
            assert isinstance(owner, nn.Embedding)
            assert subject.cls_index is not None
            undo.enter_context(row_embedded_as(owner, place.row, subject.cls_index, watch.draw))
        else:
            undo.enter_context(at_each_forward(owner, watch.renew, lambda: None))
            undo.enter_context(attribute_read_as(owner, name, watch.read))


class _Watch:
    """Hands out the vectors of a block, and counts per forward pass whether any was asked for.

    A parameter may be read several times in one forward pass, and once more when a checkpointed part is run
    again: `read` gives the same draw until `renew`.
    """

    def __init__(self, subject: Loaded, vectors: Callable[[int], Tensor]) -> None:
        assert subject.cls_vector is not None
        self._subject, self._like, self.vectors = subject, subject.cls_vector.tensor, vectors
        self._current: Tensor | None = None
        self._reads = 0

    def renew(self) -> None:
        self._current = None

    def read(self) -> Tensor:
        """Return what stands for the whole parameter: its shape, dtype and device."""
        if self._current is None:
            self._current = self.draw(1).reshape(self._like.shape).to(self._like)
        self._reads += 1
        return self._current

    def draw(self, rows: int) -> Tensor:
        """Return [rows, channel], or [1, channel] for all."""
        self._reads += 1
        return self.vectors(rows)

    def start(self) -> None:
        self._reads = 0

    def finish(self) -> None:
        if self._reads == 0 and _open[self._subject.module][-1] is self:  # an inner block reads instead
            refuse(
                self._subject.name,
                expected="a forward pass that reads the vector of [CLS]",
                got="one that does not",
                next_step="Check that the inputs have [CLS] at the subject's cls_index, and that the model "
                "uses what cls_vector points to",
            )


_open: WeakKeyDictionary[nn.Module, list[_Watch]] = WeakKeyDictionary()
"""The watches of the blocks that are open on a module, the innermost last; its lock is held meanwhile."""


def open_generators(module: nn.Module) -> list[torch.Generator]:
    """Return the generators from which the open blocks on a module draw what enters as [CLS]."""
    strategy = getattr(module, "cls_token", None)
    drawing = [watch.vectors for watch in _open.get(module, []) if isinstance(watch.vectors, _Drawn)]
    tokens = [
        *(vectors.token for vectors in drawing),
        *([strategy] if isinstance(strategy, ClsToken) else []),
    ]
    return [token.generator for token in tokens]


@dataclass(frozen=True)
class _Drawn:
    """Gives [rows, width], drawn anew at each call."""

    token: ClsToken
    std: float

    def __call__(self, rows: int) -> Tensor:
        return self.token.draw(rows, self.std, torch.empty(0))


def _vectors(strategy: str, width: int, seed: int, std: float) -> Callable[[int], Tensor]:
    """Return what gives [rows, width], or [1, width] for all, on the CPU in float32."""
    if strategy == "zeros":
        return lambda rows: torch.zeros(1, width)
    token = make(strategy, width, seed=seed, std=std)
    if strategy == "fixed_random":
        return lambda rows: token.vector[None]
    return _Drawn(token, std)


def _own_std(subject: Loaded, strategy: ClsToken | None) -> float:
    """Return the standard deviation of the trained vector's channels, or of what was drawn in training."""
    drawn = getattr(strategy, "std", None)
    place = subject.cls_vector
    std = drawn if isinstance(drawn, float) else 0.0
    if not std and place is not None:
        std = float(place.values.detach().double().std(correction=0))
    if not std:
        refuse(
            "std",
            "the standard deviation of the draws",
            "none, and no spread in the trained [CLS]",
            "State std=",
        )
    return std
