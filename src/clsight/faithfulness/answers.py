"""What does the model answer without some of its tokens? Passes in eval mode that share every random draw.

Sample s stands in row s of every pass, and every pass starts all random streams at the same place, so that a
random [CLS] is the same vector with and without a token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clsight.errors import CaptureError
from clsight.faithfulness.attributed import Flags
from clsight.faithfulness.batch import Batch
from clsight.faithfulness.checks import check_parts
from clsight.faithfulness.removal import Baseline, Part, Way, remover_of
from clsight.hooks.calls import logits_of
from clsight.hooks.random_streams import stream_states, undisturbed

Probabilities = NDArray[np.float64]
ClassOf = int | Sequence[int] | NDArray[np.int64] | None

ONE_CLASS: Final = "the model has one class only: its probability is 1 whatever is removed"


@dataclass(frozen=True)
class Settings:
    """How tokens are removed and answers read.

    Attributes:
        by: The way of removal; None for the first that the model supports.
        baseline: What stands in for a removed token, for `by="baseline"`.
        output: From the module's output to its logits; None to find them.
        target: The class whose probability counts, one for all or one per sample; None for the predicted one.
        draws: Passes over whose mean is taken, if the model draws at random.
        seed: Start of the random streams in the first draw.
    """

    by: Way | None = None
    baseline: Baseline | None = None
    output: Callable[[Any], Tensor] | None = None
    target: ClassOf = None
    draws: int = 10
    seed: int = 0


class Answers:
    """The probability of one class per sample, with any tokens removed.

    Args:
        batch: The call.
        settings: How tokens are removed and answers read.

    Attributes:
        way: How tokens are removed.
        baseline: What stands in for them, by="baseline"; else None.
        whole: `[sample]`, the probability with all tokens there.
        target: `[sample]`, the class that it is of.
        reason: Why every score of it is undefined; empty if they are not.
        draws: How many passes each answer is the mean of.
        passes: How often the module has run.
        notes: What a reader should know.

    Raises:
        CaptureError: If the settings do not fit, the model does not support the removal, has no logits, or
            fails a check of `clsight.faithfulness.checks`.
    """

    def __init__(self, batch: Batch, settings: Settings) -> None:
        _check(settings)
        self.batch, self._settings = batch, settings
        self.way, self._remover = remover_of(batch, settings.by, settings.baseline)
        stated = "mean" if settings.baseline is None else settings.baseline
        self.baseline = stated if self.way == "baseline" else None
        self.passes = 0
        samples = batch.sizes[0]
        everyone = Part(np.arange(samples), batch.call.inputs)
        self._has_drawn = False
        first = self._probabilities(everyone, settings.seed)
        self._seeds = [settings.seed + draw for draw in range(settings.draws if self._has_drawn else 1)]
        if self._has_drawn and self.way == "deletion":
            raise CaptureError(
                batch.name,
                expected="a model that draws nothing at random, so that samples can be run apart",
                got="one that does, to be asked by deletion",
                next_step='Remove tokens by="mask" or by="baseline"',
            )
        more = [self._probabilities(everyone, seed) for seed in self._seeds[1:]]
        whole = np.mean([first, *more], axis=0)
        self.target = _targets(settings.target, whole)
        self.whole: Probabilities = whole[np.arange(samples), self.target]
        self.reason = ONE_CLASS if whole.shape[1] == 1 else ""
        self._known: dict[bytes, Probabilities] = {np.zeros(batch.sizes, dtype=bool).tobytes(): self.whole}
        self.notes = check_parts(self, self._remover, seed=settings.seed)

    @property
    def draws(self) -> int:
        """How many passes each answer is the mean of."""
        return len(self._seeds)

    def without(self, removed: Flags) -> Probabilities:
        """Return the probability of the class without some tokens, `[sample]`; each set is run once.

        Args:
            removed: `[sample, token]`; tokens that may not be removed stay.
        """
        removed = removed & self.batch.removable
        key = removed.tobytes()
        if key not in self._known:
            self._known[key] = self.of(self._remover.parts(removed))
        return self._known[key]

    def of(self, parts: Sequence[Part]) -> Probabilities:
        """Return the probability of the class for changed inputs, `[sample]`."""
        found = np.full(len(self.target), np.nan)
        for part in parts:
            drawn = [self._probabilities(part, seed) for seed in self._seeds]
            found[part.rows] = np.mean(drawn, axis=0)[np.arange(len(part.rows)), self.target[part.rows]]
        return found

    def _probabilities(self, part: Part, seed: int) -> Probabilities:
        """Return softmax of the logits, `[row, class]` in float64."""
        call = self.batch.with_inputs(part.inputs)
        is_first, self.passes = self.passes == 0, self.passes + 1
        with undisturbed(call.module, seed), torch.no_grad(), _NativePathOff():
            before = stream_states(call.module) if is_first else []
            output = call.run()
            if is_first:
                self._has_drawn = stream_states(call.module) != before
        logits, why = logits_of(output, len(part.rows), self._settings.output)
        if logits is None:
            raise CaptureError(
                self.batch.name,
                expected="logits, whose probability can be compared",
                got=f"none: {why}",
                next_step="Pass output=, a function from the model's output to its logits",
            )
        probabilities: Probabilities = torch.softmax(logits.double(), dim=1).cpu().numpy()
        if np.isnan(probabilities).any():
            raise CaptureError(
                self.batch.name,
                expected="an answer in numbers",
                got=f"NaN for {int(np.isnan(probabilities).any(1).sum())} of {len(part.rows)} samples",
                where="Attention is NaN in many models where all tokens are hidden",
                next_step='Remove tokens in another way, such as by="baseline"',
            )
        return probabilities


class _NativePathOff(TorchFunctionMode):
    """Keep torch's native encoder path off: what the mask holds decides on it, and it rounds otherwise."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _targets(target: ClassOf, whole: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return one class per sample.

    Raises:
        CaptureError: If a class does not exist, or their number does not fit.
    """
    samples, classes = whole.shape
    if target is None:
        predicted: NDArray[np.int64] = whole.argmax(1)
        return predicted
    given = np.asarray(target)
    fits = given.dtype.kind in "iu" and given.shape in ((), (samples,))
    if not fits or (given < 0).any() or (given >= classes).any():
        raise CaptureError(
            "target",
            expected=f"a class between 0 and {classes - 1}, for all or for each of {samples} samples",
            got=str(target),
            next_step="Leave it out to take the class that the model predicts",
        )
    return np.broadcast_to(given, (samples,)).astype(np.int64)


def _check(settings: Settings) -> None:
    """Refuse numbers of draws and seeds that are none."""
    for name, least in (("draws", 1), ("seed", 0)):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise CaptureError(
                name,
                expected=f"a whole number, {least} or more",
                got=repr(value),
                next_step="Leave it out for the usual one",
            )
