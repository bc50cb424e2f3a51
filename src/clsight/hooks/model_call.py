"""One call of a model that is to be looked at: what runs, on what, and what is known of its tokens.

A bare module and what `clsight.load` returns are made alike here, for a capture and for interventions.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from torch import Tensor, nn

from clsight.errors import CaptureError, ClsightError
from clsight.hooks.calls import LogitsOf, arguments_of, check_inputs, with_tensors
from clsight.hooks.forward import ClsIndex
from clsight.hooks.layers import where_raised
from clsight.hooks.token_map import TokenMap
from clsight.hooks.watching import original_of
from clsight.preparation import Examples

if TYPE_CHECKING:
    from clsight.loading import Prepared, Subject


@dataclass(frozen=True)
class ModelCall:
    """A module and one batch, ready to run.

    Attributes:
        module: What is called; compiled modules as they were given.
        inputs: Called as `module(x)`, `module(*inputs)` or `module(**inputs)`.
        cls_index: Position of CLS in the sequence that the encoder sees, for all samples or one per sample.
        token_mask: `[sample, token]`, True = real token; None to find it.
        within: Name of the submodule to look at; None for all.
        tokens: What each token is; None numbers them.
        attributes: What a record says of the model.
        classes: A name per class; empty if unknown.
        notes: What a reader should know of the model.
        output: False where what the module returns is known to be no logits; else None.
    """

    module: nn.Module
    inputs: Any
    cls_index: ClsIndex = 0
    token_mask: Any = None
    within: str | None = None
    tokens: TokenMap | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    output: LogitsOf = None

    @property
    def recording(self) -> dict[str, Any]:
        """The keyword arguments of a `Recorder` of this call."""
        names = ("cls_index", "token_mask", "within", "tokens", "attributes")
        return {name: getattr(self, name) for name in names}

    def run(self, *, on_copies: bool = False) -> Any:
        """Call the module once, and tell in one sentence where it failed.

        Args:
            on_copies: Call it on copies of the inputs, which a model may change in place.

        Raises:
            CaptureError: If the module raises.
        """
        module = original_of(self.module)
        args, kwargs = arguments_of(self.inputs)
        if on_copies:
            args, kwargs = with_tensors((args, kwargs), Tensor.clone)
        try:
            return module(*args, **kwargs)
        except ClsightError:
            raise
        except Exception as error:
            raise CaptureError(
                where_raised(error, module) or type(module).__name__,
                expected="a forward pass that runs",
                got=f"{type(error).__name__}: {' '.join(str(error).split())}",
                next_step=_step_for(self.inputs),
            ) from error

    def described(self, record: xr.Dataset) -> xr.Dataset:
        """Return a record of this call with what is known of the model beside what it computed."""
        if self.notes:
            record.attrs["notes"] = [*self.notes, *record.attrs["notes"]]
        if "class" in record.dims and len(self.classes) == record.sizes["class"]:
            names = np.array(self.classes, dtype=np.dtypes.StringDType())
            record = record.assign_coords(class_name=("class", names))
        return record


def _step_for(inputs: Any) -> str:
    """Return what to do about a module that did not run: NumPy arrays among its inputs are the likeliest."""
    args, kwargs = arguments_of(inputs)
    arrays = [f"at position {number}" for number, one in enumerate(args) if isinstance(one, np.ndarray)]
    arrays += [f"`{name}`" for name, one in kwargs.items() if isinstance(one, np.ndarray)]
    if not arrays:
        return "Check the shape and dtype of the inputs, and that the module runs without clsight"
    which = f"the array {arrays[0]}" if len(arrays) == 1 else f"the arrays {' and '.join(arrays)}"
    return f"Turn {which} into a tensor each: torch.as_tensor(array), in the dtype that the module takes"


def model_call(
    module_or_subject: "nn.Module | Subject",
    inputs: Any,
    *,
    cls_index: ClsIndex | None = None,
    token_mask: Any = None,
    within: str | None = None,
) -> ModelCall:
    """Return the call of a module, or of a subject, which prepares its inputs.

    What is None is the subject's own.

    Raises:
        CaptureError: If this is no model, its inputs are of a kind that none takes, or it has no CLS.
        ClsightError: If the inputs do not fit the subject.
    """
    if isinstance(module_or_subject, nn.Module):
        check_inputs(inputs)
        position = 0 if cls_index is None else cls_index
        name = type(original_of(module_or_subject)).__name__
        attributes = {"model": name, "strategy": "", "seed": None, "checkpoint_sha256": ""}
        return ModelCall(module_or_subject, inputs, position, token_mask, within, attributes=attributes)
    if not hasattr(module_or_subject, "prepare"):
        raise CaptureError(
            "module_or_subject",
            expected="a torch module, or what clsight.load returned",
            got=f"a {type(module_or_subject).__name__}",
            next_step="Pass the nn.Module itself; load a saved model with clsight.load",
        )
    prepared = module_or_subject.prepare(inputs)
    check_inputs(prepared.inputs)
    call = ModelCall(
        module_or_subject.module,
        prepared.inputs,
        _position(module_or_subject, prepared) if cls_index is None else cls_index,
        prepared.token_mask if token_mask is None else token_mask,
        module_or_subject.within if within is None else within,
    )
    made = inputs.made if isinstance(inputs, Examples) else ""
    return _with_knowledge(call, module_or_subject, prepared, made)


def _with_knowledge(call: ModelCall, subject: "Subject", prepared: "Prepared", made: str) -> ModelCall:
    """Return the call with what the subject knows of itself and of its tokens, and how inputs were made."""
    return replace(
        call,
        tokens=TokenMap(
            prepared.token_text, prepared.token_kind, prepared.row, prepared.column, prepared.label
        ),
        attributes={
            "model": subject.name,
            "strategy": subject.strategy,
            "seed": subject.seed,
            "checkpoint_sha256": subject.provenance.get("sha256", ""),
            **({"examples": made} if made else {}),
        },
        classes=tuple(subject.classes),
        notes=(*subject.notes, *prepared.notes),
        output=False if subject.classifies is False else None,
    )


def _position(subject: "Subject", prepared: "Prepared") -> ClsIndex:
    """Return where CLS stands, for all samples or for each."""
    if subject.cls_index is not None:
        return subject.cls_index
    if prepared.cls_index is None:
        raise CaptureError(
            subject.name,
            expected="a model with a CLS position",
            got=f"strategy {subject.strategy}, which has none" if subject.strategy else "one without",
            where=str(subject.provenance.get("cls", "")),
            next_step="Pass cls_index= to look at an ordinary token as if it were CLS",
        )
    positions: list[int] = prepared.cls_index.tolist()
    return positions


@contextmanager
def mode_of(module: nn.Module, *, eval_mode: bool) -> Iterator[None]:
    """Set eval mode if asked, and give every submodule its own mode back."""
    trained = [submodule for submodule in module.modules() if submodule.training] if eval_mode else []
    if trained:
        module.eval()
    try:
        yield
    finally:
        for submodule in trained:
            submodule.training = True
