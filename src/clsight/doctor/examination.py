"""What several checks need of one model, made once and on demand: a record, a few passes, its layers.

`Examination` holds it. A check asks for what it needs; what cannot be made raises `NotApplicableError` or the
error of the capture, and the check is then told as one that could not look.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from clsight.doctor.changes import Noise
from clsight.doctor.cls_tensors import ClsTensor, find_cls_tensors
from clsight.doctor.disturbances import added, noise_like, plus, shifted
from clsight.doctor.layer_states import LayerStates, NormInput
from clsight.doctor.passes import FAILURES, Pass, failed_pass, watched_pass
from clsight.doctor.projections import Disturbed
from clsight.doctor.question import Question
from clsight.errors import CaptureError
from clsight.hooks import capture
from clsight.hooks.calls import Inputs, first_tensor
from clsight.hooks.random_streams import undisturbed

_REPEATS = 4
FIRST, SECOND = 0, 1
"""Seeds of the pass that all others are compared with, and of one with other random draws."""


class NotApplicableError(Exception):
    """A check cannot look at this model; the message says why, without a full stop."""


class RefusedError(NotApplicableError):
    """A check needs the record, and the capture was refused; `refusal` is the capture's own error."""

    def __init__(self, refusal: CaptureError) -> None:
        super().__init__("the capture was refused")
        self.refusal = refusal


@dataclass
class Look:
    """One watched pass: what it gave, and the states between its layers."""

    result: Pass
    states: LayerStates

    @property
    def norms(self) -> list[NormInput]:
        """What each norm received at [CLS], in order."""
        return self.states.norms


class Examination:
    """One model under examination.

    Args:
        question: What is examined.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.module = question.module

    @property
    def record(self) -> xr.Dataset:
        """The record of one capture, with the weight that each token receives.

        Raises:
            RefusedError: If the model cannot be captured, or its map would be wrong.
        """
        if isinstance(self._record_or_refusal, CaptureError):
            raise RefusedError(self._record_or_refusal)
        return self._record_or_refusal

    @cached_property
    def _record_or_refusal(self) -> xr.Dataset | CaptureError:
        try:
            return self.captured(keep=("vectors", "received"))
        except CaptureError as refusal:
            return refusal
        except FAILURES as failure:
            return failed_pass(self.module, failure)

    @cached_property
    def first(self) -> Look:
        """The pass that others are compared with, whose states are measured."""
        return self.look(measured=True)

    @cached_property
    def second(self) -> Look:
        """The same with other random draws."""
        return self.look(seed=SECOND)

    @cached_property
    def noise(self) -> Noise:
        """How far passes with the same seeds differ; measured more often where they do."""
        noise = Noise.of(self.first, [self.look()])
        return noise if noise.is_silent else Noise.of(self.first, [self.look() for _ in range(_REPEATS)])

    @cached_property
    def is_redrawn(self) -> bool:
        """Whether what enters at [CLS] follows random draws.

        Raises:
            NotApplicableError: If it was not found.
        """
        return not torch.equal(self.at_cls, self._at_cls(known_entering(self.second)))

    @property
    def at_cls(self) -> Tensor:
        """What enters the first layer at [CLS], `[sample, channel]`.

        Raises:
            NotApplicableError: If it was not found.
        """
        return self._at_cls(self.entering)

    def _at_cls(self, states: Tensor) -> Tensor:
        return states[torch.arange(len(states)), self.positions]

    @cached_property
    def cls_tensors(self) -> list[ClsTensor]:
        """The parameters and buffers that may hold [CLS], with the vector named by the loader first."""
        subject = self.question.subject
        known = None if subject is None else subject.cls_vector
        return find_cls_tensors(self.module, known, self.width)

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """Each layer of the record by name, as the module that holds its attention."""
        names = [str(name) for name in self.record["layer_name"].values]
        modules = dict(self.module.named_modules())
        return {name: modules.get(name.partition("#")[0], self.module) for name in names}

    @property
    def entering(self) -> Tensor:
        """The sequence that enters the first layer, `[sample, token, channel]`.

        Raises:
            NotApplicableError: If it was not found.
        """
        return known_entering(self.first)

    @property
    def width(self) -> int | None:
        """Channels of a token; None if that was not found."""
        states = self.first.states.entering
        return None if states is None else states.shape[2]

    @property
    def gives_classes(self) -> bool:
        """Whether the output is known to be logits: by name, by who asked, or by the subject's classes."""
        result, subject = self.first.result, self.question.subject
        if result.logits is None or result.logits.shape[1] < 2:
            return False
        return result.names_logits or (subject is not None and len(subject.classes) == result.logits.shape[1])

    @property
    def samples(self) -> int:
        """Number of examined samples."""
        return int(self.record.sizes["sample"])

    @property
    def tokens(self) -> int:
        """Length of the sequence that the attention sees."""
        return int(self.record.sizes["token"])

    @cached_property
    def positions(self) -> Tensor:
        """Position of [CLS] in each sample, `[sample]`."""
        position = self.record.get("cls_position", self.record.attrs["cls_index"])
        return torch.as_tensor(np.asarray(position)).expand(self.samples)

    @property
    def input_tokens(self) -> int | None:
        """Length of the sequence in the inputs; None for pictures, and where it is not known."""
        given = first_tensor(self.question.inputs)
        subject = self.question.subject
        if given is None or given.dim() not in (2, 3) or (subject and subject.takes == "image"):
            return None
        if given.dim() == 2:
            return given.shape[1] if not given.is_floating_point() else None
        return given.shape[1] if given.shape[0] == self.samples else given.shape[0]

    def captured(self, *, keep: Any = (), inputs: Any = None) -> xr.Dataset:
        """Return the record of a capture, with the random streams at the start of `first`.

        Args:
            keep: As for `clsight.capture`.
            inputs: What the module is called with instead of its own inputs.
        """
        question = self.question
        with undisturbed(self.module, FIRST):
            if question.subject is not None and inputs is None:
                return capture(
                    question.subject,
                    question.raw,
                    cls_index=question.cls_index,
                    token_mask=question.token_mask,
                    keep=keep,
                    within=question.within,
                    output=question.output,
                )
            return capture(
                self.module,
                question.inputs if inputs is None else inputs,
                cls_index=question.cls_index if inputs is None else self.positions,
                token_mask=question.token_mask if inputs is None else None,
                within=question.within,
                keep=keep,
                output=question.output,
            )

    def look(self, *, seed: int = FIRST, inputs: Inputs | None = None, measured: bool = False) -> Look:
        """Run the module once, watched.

        Args:
            seed: Start of its random streams.
            inputs: Instead of its own inputs.
            measured: Also measure how large the states are, and what norms receive.
        """
        states = LayerStates(self.layers, self.positions, tokens=self.tokens, measured=measured)
        result = watched_pass(
            self.module,
            self.question.inputs if inputs is None else inputs,
            samples=self.samples,
            seed=seed,
            seen=states.on_leave,
            called=states.projections.on_call,
            output=self.question.output,
        )
        return Look(result, states)

    def with_shifted(self, tensor: ClsTensor) -> Look:
        """Run the module once with noise added to a tensor that may hold [CLS]."""
        with undisturbed(self.module, FIRST), shifted(tensor.values):
            return self.look()

    def with_other_cls_state(self) -> Look:
        """Run the module once with noise added at [CLS] to what enters the first layer, or its attention.

        Raises:
            NotApplicableError: If that sequence was not found.
        """
        entering = self.entering
        noise = torch.zeros_like(entering)
        order = torch.arange(len(entering))
        size = float(entering.float().square().mean().sqrt()) or 1.0
        noise[order, self.positions] = size * noise_like(entering[:, 0])
        states = self.first.states
        if states.is_projected:
            noisy: Any = Disturbed(states.projections.places, lambda x: plus(x, noise), states.sequence)
        else:
            noisy = added(next(iter(self.layers.values())), noise)
        with undisturbed(self.module, FIRST), noisy:
            return self.look()


def known_entering(look: Look) -> Tensor:
    """Return the sequence that entered the first layer, or raise `NotApplicableError`."""
    if look.states.entering is None:
        raise NotApplicableError("the sequence that enters the first layer was not found")
    return look.states.entering
