"""What would a trained model do if its [CLS] were something else? `clsight.cls_token.replaced`."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn, Protocol, TypeVar

import torch
from torch import Tensor, nn

from clsight.cls_strategy import CLS_STRATEGIES, ClsToken, make
from clsight.errors import ClsightError, did_you_mean
from clsight.module_lock import lock_of
from clsight.substitution import at_each_forward, attribute_read_as, row_embedded_as

_CONSTANT = {"zeros", "fixed_random", "random_per_forward"}
_DRAWN = {"fixed_random", "random_per_forward"}
_OWN_START = {
    "learned": "Use `fixed_random` with std=0.02 for a start like its own",
    "learned_zeros": "Use `zeros`",
    "learned_normal": "Use `fixed_random` with std=1.0",
}


class Place(Protocol):
    """Where a model keeps the vector of [CLS]: `clsight.loading.subject.ClsVector`."""

    @property
    def tensor(self) -> Tensor:
        """The parameter or buffer."""

    @property
    def row(self) -> int | None:
        """The row of it that is [CLS]; None where all of it is."""

    @property
    def values(self) -> Tensor:
        """[channel]."""


class Loaded(Protocol):
    """What is needed of a `clsight.Subject`."""

    module: nn.Module
    name: str
    strategy: str

    @property
    def cls_index(self) -> int | None:
        """Position of [CLS]."""

    @property
    def cls_vector(self) -> Place | None:
        """Where the vector of [CLS] lives."""


Subject = TypeVar("Subject", bound=Loaded)


@contextmanager
def replaced(
    subject: Subject, strategy: str, seed: int = 0, *, std: float | None = None
) -> Iterator[Subject]:
    """Let another vector enter a loaded model as [CLS], inside the block and in this thread only.

    Everything else stays as it is, bit for bit: no weight is written, other rows of a word embedding and the
    same id at other positions are untouched, and so are weights tied to it, gradients, and torch's random
    state. Position and type embeddings are still added. `subject.strategy` says the strategy inside the
    block. Captures of this model in other threads wait until the block ends. Blocks nest; the inner one
    counts.

    Args:
        subject: From `clsight.load`: a model of clsight; one with a [CLS] parameter (timm, torchvision,
            open_clip, transformers); or one whose [CLS] is a row of its word embedding.
        strategy: `zeros`; `fixed_random`, one draw for all; `random_per_forward`, a new draw at each forward
            pass, for each sample its own, but shared by the batch where [CLS] is a parameter; for models of
            clsight also `input_mean`. What is learned, or changes where the answer is read, is refused.
        seed: Start of the draws, 0 or more; the same seed gives the same draws in the same order.
        std: Standard deviation of the draws around 0, by default that of the trained vector's channels.

    Raises:
        ClsightError: If the strategy says nothing of a trained model, the [CLS] vector is not known, or a
            forward pass does not read it.

    Example:
        The sentence vector of MiniLM hardly needs what its [CLS] was trained to be::

            subject = clsight.load("all-MiniLM-L6-v2")  # its [CLS] is row 101 of the word embedding
            trained = clsight.capture(subject, ["Nobody reads it."])
            with clsight.cls_token.replaced(subject, "zeros"):
                zeros = clsight.capture(subject, ["Nobody reads it."])
            abs(zeros.attends_to - trained.attends_to).sum("token").mean() / 2  # share of weight that moved
    """
    _check(subject, strategy, seed, std)
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
    options = {"std": std or _own_std(subject, trained)} if strategy in _DRAWN else {}
    other = make(strategy, trained.width, seed=seed, **options).train(trained.training)
    undo.enter_context(attribute_read_as(subject.module, "cls_token", lambda: other))


def _replace_vector(undo: ExitStack, subject: Loaded, strategy: str, seed: int, std: float | None) -> None:
    """Let another vector be read where the module reads its own, and make sure that it is read."""
    place = subject.cls_vector
    assert place is not None
    std = std or (_own_std(subject, None) if strategy in _DRAWN else 0.0)
    vectors = _vectors(strategy, place.values.numel(), seed, std)
    watch = _Watch(subject, vectors)
    undo.enter_context(at_each_forward(subject.module, watch.start, watch.finish))
    for owner, name in _owners(subject.module, place):
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
        self._subject, self._like, self._vectors = subject, subject.cls_vector.tensor, vectors
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
        return self._vectors(rows)

    def start(self) -> None:
        self._reads = 0

    def finish(self) -> None:
        if self._reads == 0:
            _fail(
                self._subject.name,
                expected="a forward pass that reads the vector of [CLS]",
                got="one that does not",
                next_step="Check that the inputs have [CLS] at the subject's cls_index, and that the model "
                "uses what cls_vector points to",
            )


def _vectors(strategy: str, width: int, seed: int, std: float) -> Callable[[int], Tensor]:
    """Return what gives [rows, width], or [1, width] for all, on the CPU in float32."""
    if strategy == "zeros":
        return lambda rows: torch.zeros(1, width)
    token = make(strategy, width, seed=seed, std=std)
    if strategy == "fixed_random":
        return lambda rows: token.vector[None]
    return lambda rows: token.draw(rows, std, torch.empty(0))


def _owners(module: nn.Module, place: Place) -> list[tuple[nn.Module, str]]:
    """Return who holds the vector, and under which name; of a table only who looks ids up in it."""
    holders = [
        (part, name)
        for part in module.modules()
        for name, held in (*part._parameters.items(), *part._buffers.items())
        if held is place.tensor
    ]
    if place.row is None:
        return holders
    return [
        (part, name)
        for part, name in holders
        if isinstance(part, nn.Embedding) and type(part).forward is nn.Embedding.forward
    ]


def _own_std(subject: Loaded, strategy: ClsToken | None) -> float:
    """Return the standard deviation of the trained vector's channels, or of what was drawn in training."""
    drawn = getattr(strategy, "std", None)
    place = subject.cls_vector
    std = drawn if isinstance(drawn, float) else 0.0
    if not std and place is not None:
        std = float(place.values.detach().double().std(correction=0))
    if not std:
        _fail(
            "std",
            "the standard deviation of the draws",
            "none, and no spread in the trained [CLS]",
            "State std=",
        )
    return std


def _check(subject: Loaded, strategy: str, seed: int, std: float | None) -> None:
    """Refuse what cannot be replaced, before anything is."""
    own = getattr(subject.module, "cls_token", None)
    _check_strategy(strategy, own if isinstance(own, ClsToken) else None)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        _fail("seed", "a whole number, 0 or more", repr(seed), "Choose another seed")
    if std is not None and strategy not in _DRAWN:
        _fail("std", f"no such option for `{strategy}`", f"std={std!r}", "Leave it out")
    if std is not None and not (isinstance(std, int | float) and math.isfinite(std) and std > 0):
        _fail("std", "a number above 0", repr(std), "Choose another std")
    if any(
        hasattr(part, "_orig_mod") or part._compiled_call_impl is not None
        for part in subject.module.modules()
    ):
        _fail(
            subject.name,
            "a module that is not compiled",
            "one that is",
            "Replace [CLS] of the original module",
        )
    if not isinstance(own, ClsToken):
        _check_place(subject)
    elif not own.in_sequence:
        _fail(
            subject.name,
            "a model with [CLS] in its sequence",
            f"strategy {own.name}, without",
            "Choose another model",
        )


def _check_strategy(strategy: str, own: ClsToken | None) -> None:
    """Refuse a strategy that says nothing of a trained model; `own` is the strategy of a model of clsight."""
    choice = _CONSTANT | {"input_mean"} if own is not None else _CONSTANT
    expected = f"what can enter a trained model: {', '.join(sorted(choice))}"
    if strategy not in CLS_STRATEGIES:
        _fail("strategy", expected, f"`{strategy}`", did_you_mean(str(strategy), choice))
    kind = CLS_STRATEGIES[strategy]
    if strategy.startswith("learned"):
        step = _OWN_START.get(strategy, "Use `fixed_random` or `zeros`")
        _fail("strategy", expected, f"`{strategy}`, which only says where training starts", step)
    if not kind.in_sequence or kind.readout_index is None:
        got = f"`{strategy}`, which takes [CLS] out of the sequence"
        _fail("strategy", expected, got, "Use `zeros` to see the model with an empty [CLS]")
    if strategy == "random_in_training":
        got = f"`{strategy}`, which is one fixed draw once a model is trained"
        _fail("strategy", expected, got, "Use `fixed_random`")
    if own is None and strategy not in _CONSTANT:
        got = f"`{strategy}`, which has to see the embedded tokens, as only models of clsight show them"
        _fail("strategy", expected, got, "Use `fixed_random` or `zeros`")


def _check_place(subject: Loaded) -> None:
    place = subject.cls_vector
    if place is None:
        _fail(
            subject.name,
            "a model whose [CLS] vector is known",
            "none",
            "Set subject.cls_vector = ClsVector(parameter), or ClsVector(embedding.weight, row=id)",
        )
    if not _owners(subject.module, place):
        _fail(
            subject.name,
            "`cls_vector` to be a parameter of the module, or a row of an nn.Embedding in it",
            f"a tensor {list(place.tensor.shape)} that is none",
            "Set subject.cls_vector to the tensor that the module itself holds",
        )
    if place.row is not None and subject.cls_index is None:
        _fail(subject.name, "a position of [CLS]", "none", "Load the model with cls_index=")


def _fail(subject: str, expected: str, got: str, next_step: str) -> NoReturn:
    raise ClsightError(subject, expected=expected, got=got, next_step=next_step)
