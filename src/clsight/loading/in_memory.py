"""Any module in memory as a `Subject`: what it takes and what its sequence holds, found out by trying."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from clsight import __version__
from clsight.errors import CheckpointError, ClsightError, did_you_mean
from clsight.loading.first_attention import FORWARD_ERRORS, look
from clsight.loading.first_layer import find_input, inputs_like
from clsight.loading.further_arguments import unknown_arguments
from clsight.loading.plain_input import PlainInput
from clsight.loading.raw_data import read_any
from clsight.loading.subject import ClsVector, Subject, Takes
from clsight.loading.tensor_names import is_cls_name
from clsight.loading.token_layout import Layout, with_cls_at
from clsight.loading.token_origins import hears_input, layout_of, token_origins, tokens_of
from clsight.preparation import Examples, Prepared
from clsight.schema import TokenKind

_NOTHING_FITS = "none: no made-up input runs through the module; pass your own"


def subject_of(
    module: nn.Module,
    *,
    name: str | None = None,
    cls_index: int = 0,
    examples: Examples | None = None,
    classes: Sequence[str] = (),
    classifies: bool | None = None,
    within: str | None = None,
) -> Subject:
    """Return a module in memory, such as one just trained, as a subject; it is put in eval mode.

    What it takes follows from its first layer; forward passes on made-up input try this, and tell how long
    the sequence inside is.

    Args:
        module: Any module that takes one tensor and holds self-attention.
        name: What to call it in a title; by default the name of its class.
        cls_index: Position of [CLS] in the sequence that the encoder sees; negative from the end.
        examples: Examples to show it on; by default a few made-up ones.
        classes: A name per class.
        classifies: Whether the module returns a score for each class; by default told by its output's shape.
        within: Name of the submodule whose attention is meant, where the module runs several encoders.

    Returns:
        The subject. Where nothing tried runs, it has no examples, and `provenance["examples"]` says so.

    Raises:
        CheckpointError: If its weights have no sizes yet, or there is no such submodule.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> subject_of(nn.TransformerEncoder(layer, 2), name="mine").token_kinds
        ('step',)
    """
    check_sizes(module)
    _check_within(module, within)
    module.eval()
    taken = find_input(module) if examples is None else None
    preparation = _Preparation(module, taken, cls_index, within)
    label = "the caller's own"
    if examples is None:
        examples = None if taken is None else taken.examples()
        label = _NOTHING_FITS if examples is None else examples.made
    kinds = () if examples is None else _kinds(preparation(examples[:1]))
    return Subject(
        module=module,
        name=name or type(module).__name__,
        cls_index=cls_index,
        strategy="",
        seed=None,
        classes=tuple(classes),
        examples=examples,
        provenance={
            "format": "in memory",
            "torch": torch.__version__,
            "clsight": __version__,
            "examples": label,
        },
        preparation=preparation,
        takes=_takes(taken, kinds),
        token_kinds=kinds,
        cls_vector=_cls_vector(module),
        within=within,
        reading=preparation.read,
        classifies=classifies,
    )


class _Preparation:
    """Prepares examples for a module whose sequence may be another than its input.

    Args:
        module: The module.
        taken: What it takes, as far as a made-up input told; None where none ran.
        cls_index: Where [CLS] stands in its sequence, where no token of the input does.
        within: Name of the submodule whose sequence is meant; None for the first.
    """

    def __init__(
        self, module: nn.Module, taken: PlainInput | None, cls_index: int, within: str | None
    ) -> None:
        self._module, self._taken, self._cls_index, self._within = module, taken, cls_index, within
        inner = module.get_submodule(within or "")
        attentions = [part for part in inner.modules() if isinstance(part, nn.MultiheadAttention)]
        self._extra_keys = sum((part.bias_k is not None) + part.add_zero_attn for part in attentions[:1])
        self._layouts: dict[tuple[PlainInput, tuple[int, ...]], Layout | None] = {}

    def read(self, raw: Any) -> Examples:
        """Return raw data as examples: of the kind that the module takes, else of the kind they are of."""
        if self._taken is None:
            return read_any(raw)
        try:
            return self._taken.read(raw)
        except ClsightError as refusal:
            try:
                return read_any(raw)
            except ClsightError:
                raise refusal from None

    def __call__(self, examples: Examples) -> Prepared:
        """Return the module's input and a token map of the length that the encoder sees.

        What the examples are is believed where the module runs on them, whatever a made-up input told.
        """
        like = next(iter(self._module.parameters()), torch.empty(0))
        refusal: ClsightError | None = None
        tried: tuple[PlainInput, Tensor] | None = None
        for taken in self._choices(examples):
            try:
                x = taken.tensor(examples, like)
                layout = self._layout(taken, x, taken.inputs(examples, x))
            except ClsightError as error:
                refusal = refusal or error
                continue
            if layout is not None:
                return taken.prepared(examples, x, layout)
            tried = tried or (taken, x)
        if tried is not None and (refusal is None or tried[0] is self._taken):
            taken, x = tried  # the capture tells why, with the layer
            return taken.prepared(examples, x, with_cls_at(None, taken.time_of(x)))
        raise refusal or self._no_way(examples)

    def _choices(self, examples: Examples) -> Iterator[PlainInput]:
        """Yield what the module may take, the likeliest first."""
        if self._taken is not None:
            size = examples.inputs.shape[1:3] if examples.inputs.ndim == 4 else None
            if self._taken.size is not None and examples.inputs.dtype == np.uint8 and size is not None:
                yield replace(self._taken, size=(size[0], size[1]))  # as it is, before it is squeezed
            yield self._taken
        yield from inputs_like(self._module, examples)

    def _no_way(self, examples: Examples) -> ClsightError:
        """Return the error for a module that there is no way to call with these examples."""
        step = "Pass it with what it is called with: clsight.capture(module, inputs)"
        if unknown := unknown_arguments(self._module):
            expected = "a forward pass that needs its input, masks and lengths alone"
            got = f"one that needs {', '.join(f'`{name}`' for name in unknown)}"
            return ClsightError(type(self._module).__name__, expected=expected, got=got, next_step=step)
        got = f"{examples.inputs.dtype} [{', '.join(str(size) for size in examples.inputs.shape)}]"
        expected = "ids [sample, time], series [sample, time, feature] or pictures"
        return ClsightError("examples", expected=expected, got=got, next_step=step)

    def _layout(self, taken: PlainInput, x: Tensor, inputs: tuple[Tensor, ...]) -> Layout | None:
        """Return what stands where in the sequence; None where the module does not run."""
        key = (taken, tuple(x.shape[1:]))
        if key not in self._layouts:
            one = tuple(argument[:1] for argument in inputs)
            try:
                self._layouts[key] = self._found(taken, one)
            except FORWARD_ERRORS as error:
                if isinstance(error, ClsightError):
                    raise
                self._layouts[key] = None
        return self._layouts[key]

    def _found(self, taken: PlainInput, inputs: tuple[Tensor, ...]) -> Layout:
        """Return what stands where, for one sample; raise what the module raises."""
        time, seen = taken.time_of(inputs[0]), look(self._module, inputs, within=self._within)
        if seen is None:
            return with_cls_at(None, time)
        if taken.beside and not hears_input(self._module, taken, inputs, seen):
            raise ValueError("a mask that was read the other way")
        origins = token_origins(tokens_of(self._module, taken, inputs, within=self._within), time)
        return layout_of(
            origins,
            time,
            self._cls_index,
            kind=taken.kind,
            grids=seen.grids,
            extra_keys=self._extra_keys,
        )


def check_sizes(module: nn.Module) -> None:
    """Refuse a module with lazy weights: a made-up input would give them its own size for good.

    Raises:
        CheckpointError: With the first of them.
    """
    weights = [*module.named_parameters(), *module.named_buffers()]
    lazy = [f"`{name}`" for name, weight in weights if is_lazy(weight)]
    if lazy:
        raise CheckpointError(
            type(module).__name__,
            expected="weights that have their sizes",
            got=f"{lazy[0]}{f' and {len(lazy) - 1} more' if len(lazy) > 1 else ''} without",
            next_step="Let one input of yours run through the module first, which gives them their sizes",
        )


def _check_within(module: nn.Module, within: str | None) -> None:
    names = [name for name, _ in module.named_modules() if name]
    if within is not None and within not in names:
        outer = [name for name in names if name.count(".") < 2]  # the others would fill a page
        step = did_you_mean(within, outer) if outer else "Leave it out"
        raise CheckpointError("within", expected="the name of a submodule", got=repr(within), next_step=step)


def _kinds(prepared: Prepared) -> tuple[TokenKind, ...]:
    return tuple(dict.fromkeys(prepared.token_kind[0].tolist()))


def _takes(taken: PlainInput | None, kinds: tuple[TokenKind, ...]) -> Takes:
    """Return what one sample is; a series where nothing tells."""
    if taken is not None:
        return taken.takes
    return "image" if "patch" in kinds else "token_ids" if "word" in kinds else "series"


def _cls_vector(module: nn.Module) -> ClsVector | None:
    """Return the one parameter or buffer that is a single vector and is called CLS."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    found = [tensor for name, tensor in tensors if is_cls_name(name) and _is_vector(tensor)]
    return ClsVector(found[0]) if len(found) == 1 else None


def _is_vector(tensor: Tensor) -> bool:
    return tensor.dim() > 0 and tensor.numel() == tensor.shape[-1] > 1
