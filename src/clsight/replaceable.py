"""What may stand for the [CLS] of a trained model, and in which models: the checks of `replaced`."""

import math
from typing import NoReturn, Protocol

from torch import Tensor, nn

from clsight.cls_strategy import CLS_STRATEGIES, ClsToken
from clsight.errors import ClsightError, did_you_mean

_CONSTANT = {"zeros", "fixed_random", "random_per_forward"}
DRAWN = {"fixed_random", "random_per_forward"}
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


def owners(module: nn.Module, place: Place) -> list[tuple[nn.Module, str]]:
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


def check_replaceable(subject: Loaded, strategy: str, seed: int, std: float | None) -> None:
    """Refuse what cannot be replaced, before anything is."""
    _check_kind(subject)
    own = getattr(subject.module, "cls_token", None)
    _check_strategy(strategy, own if isinstance(own, ClsToken) else None)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        refuse("seed", "a whole number, 0 or more", repr(seed), "Choose another seed")
    if std is not None and strategy not in DRAWN:
        refuse("std", f"no such option for `{strategy}`", f"std={std!r}", "Leave it out")
    if std is not None and not (isinstance(std, int | float) and math.isfinite(std) and std > 0):
        refuse("std", "a number above 0", repr(std), "Choose another std")
    if any(
        hasattr(part, "_orig_mod") or part._compiled_call_impl is not None
        for part in subject.module.modules()
    ):
        refuse(
            subject.name,
            "a module that is not compiled",
            "one that is",
            "Replace [CLS] of the original module",
        )
    if not isinstance(own, ClsToken):
        _check_place(subject)
    elif not own.in_sequence:
        refuse(
            subject.name,
            "a model with [CLS] in its sequence",
            f"strategy {own.name}, without",
            "Choose another model",
        )


def _check_kind(subject: object) -> None:
    """Refuse what is not loaded: a module alone does not tell where its [CLS] is."""
    if hasattr(subject, "cls_vector") and not isinstance(subject, nn.Module):
        return
    is_module = isinstance(subject, nn.Module)
    refuse(
        "subject",
        "what clsight.load or clsight.subject_of returns, which tells where [CLS] is",
        f"a module, {type(subject).__name__}" if is_module else f"an object of type {type(subject).__name__}",
        "Pass clsight.subject_of(module)" if is_module else "Load it first: clsight.load(path)",
    )


def _check_strategy(strategy: str, own: ClsToken | None) -> None:
    """Refuse a strategy that says nothing of a trained model; `own` is the strategy of a model of clsight."""
    choice = _CONSTANT | {"input_mean"} if own is not None else _CONSTANT
    expected = f"what can enter a trained model: {', '.join(sorted(choice))}"
    if strategy not in CLS_STRATEGIES:
        refuse("strategy", expected, f"`{strategy}`", did_you_mean(str(strategy), choice))
    kind = CLS_STRATEGIES[strategy]
    if strategy.startswith("learned"):
        step = _OWN_START.get(strategy, "Use `fixed_random` or `zeros`")
        refuse("strategy", expected, f"`{strategy}`, which only says where training starts", step)
    if not kind.in_sequence or kind.readout_index is None:
        got = f"`{strategy}`, which takes [CLS] out of the sequence"
        refuse("strategy", expected, got, "Use `zeros` to see the model with an empty [CLS]")
    if strategy == "random_in_training":
        got = f"`{strategy}`, which is one fixed draw once a model is trained"
        refuse("strategy", expected, got, "Use `fixed_random`")
    if own is None and strategy not in _CONSTANT:
        got = f"`{strategy}`, which has to see the embedded tokens, as only models of clsight show them"
        refuse("strategy", expected, got, "Use `fixed_random` or `zeros`")


def _check_place(subject: Loaded) -> None:
    place = subject.cls_vector
    if place is None:
        refuse(
            subject.name,
            "a model whose [CLS] vector is known",
            "none",
            "Set subject.cls_vector = clsight.ClsVector(parameter), or of a word embedding "
            "clsight.ClsVector(embedding.weight, row=id)",
        )
    if not owners(subject.module, place):
        refuse(
            subject.name,
            "`cls_vector` to be a parameter of the module, or a row of an nn.Embedding in it",
            f"a tensor {list(place.tensor.shape)} that is none",
            "Set subject.cls_vector to the tensor that the module itself holds",
        )
    if place.row is not None and subject.cls_index is None:
        refuse(subject.name, "a position of [CLS]", "none", "Load the model with cls_index=")


def refuse(subject: str, expected: str, got: str, next_step: str) -> NoReturn:
    """Raise what was expected, what was found instead, and one thing to do."""
    raise ClsightError(subject, expected=expected, got=got, next_step=next_step)
