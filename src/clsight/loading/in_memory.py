"""Any module in memory as a `Subject`: what it takes and how long its sequence is, found out by trying."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clsight.loading.first_layer import FORWARD_ERRORS, find_input, input_like, sequence_length
from clsight.loading.plain_input import Layout, PlainInput, with_cls_at
from clsight.loading.subject import ClsVector, Subject
from clsight.loading.tensor_names import is_cls_name
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
) -> Subject:
    """Return a module in memory, such as one just trained, as a subject; it is put in eval mode.

    What it takes follows from its first layer: `nn.Linear` a series, `nn.Embedding` token ids, `nn.Conv2d`
    pictures. A few forward passes on made-up input try this, and tell how long the sequence inside is.

    Args:
        module: Any module that takes one tensor and holds self-attention.
        name: What to call it in a title; by default the name of its class.
        cls_index: Position of [CLS] in the sequence that the encoder sees; negative from the end.
        examples: Examples to show it on; by default a few made-up ones.
        classes: A name per class.

    Returns:
        The subject. Where nothing tried runs, it has no examples, and `provenance["examples"]` says so.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> subject_of(nn.TransformerEncoder(layer, 2), name="mine").token_kinds
        ('step',)
    """
    module.eval()
    taken, shown, label = _taken(module, examples)
    preparation = _Preparation(module, taken, cls_index)
    return Subject(
        module=module,
        name=name or type(module).__name__,
        cls_index=cls_index,
        strategy="",
        seed=None,
        classes=tuple(classes),
        examples=shown,
        provenance={"format": "in memory", "torch": torch.__version__, "examples": label},
        preparation=preparation,
        takes=taken.takes,
        token_kinds=(taken.kind,) if shown is None else _kinds(preparation(shown[:1])),
        cls_vector=_cls_vector(module),
        reading=taken.read,
    )


def _taken(module: nn.Module, examples: Examples | None) -> tuple[PlainInput, Examples | None, str]:
    """Return what a module takes, examples to show it on, and where they are from."""
    if examples is not None:
        return input_like(module, examples), examples, "the caller's own"
    found = find_input(module)
    if found is None:
        return PlainInput(takes="series", features=_width(module)), None, _NOTHING_FITS
    return found, *found.examples()


class _Preparation:
    """Prepares examples for a module whose sequence may be longer than its input.

    Args:
        module: The module.
        taken: What it takes.
        cls_index: Where [CLS] stands in its sequence, if there is one more token than the input has.
    """

    def __init__(self, module: nn.Module, taken: PlainInput, cls_index: int) -> None:
        self._module, self._taken, self._cls_index = module, taken, cls_index
        attentions = [part for part in module.modules() if isinstance(part, nn.MultiheadAttention)]
        self._extra_keys = sum((part.bias_k is not None) + part.add_zero_attn for part in attentions[:1])
        self._lengths: dict[tuple[int, ...], int | None] = {}

    def __call__(self, examples: Examples) -> Prepared:
        """Return the module's input and a token map of the length that the encoder sees."""
        like = next((weight for weight in self._module.parameters()), torch.empty(0))
        x = self._taken.tensor(examples, like)
        time = self._taken.time_of(x)
        layout = layout_of(time, self._length(x) or time, self._cls_index, extra_keys=self._extra_keys)
        return self._taken.prepared(examples, x, layout)

    def _length(self, x: Tensor) -> int | None:
        shape = tuple(x.shape[1:])
        if shape not in self._lengths:
            try:
                self._lengths[shape] = sequence_length(self._module, x[:1])
            except FORWARD_ERRORS:
                self._lengths[shape] = None  # the capture tells why, with the layer
        return self._lengths[shape]


def layout_of(time: int, length: int, cls_index: int, *, extra_keys: int = 0) -> Layout:
    """Return how `time` tokens of the input stand in a sequence of `length`.

    One more token than the input has is [CLS]; more than that are special tokens behind it; none means that
    no [CLS] enters. A sequence shorter than the input has tokens of its own.
    """
    if length <= time + 1:
        position = cls_index if length == time + 1 else None
        return with_cls_at(position, min(time, length), extra_keys=extra_keys)
    front = length - time
    texts = {position: f"[extra {position}]" for position in range(front)}
    kinds: dict[int, TokenKind] = {position: "special" for position in range(front)}
    index = cls_index % length
    if index < front:
        texts[index], kinds[index] = "[CLS]", "cls"
    return Layout(length, tuple(range(front, length)), texts, kinds)


def _kinds(prepared: Prepared) -> tuple[TokenKind, ...]:
    return tuple(dict.fromkeys(prepared.token_kind[0].tolist()))


def _width(module: nn.Module) -> int:
    """Return the channels of a token in the first attention layer; 1 where there is none."""
    return next((part.embed_dim for part in module.modules() if isinstance(part, nn.MultiheadAttention)), 1)


def _cls_vector(module: nn.Module) -> ClsVector | None:
    """Return the one parameter or buffer that is a single vector and is called CLS."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    found = [tensor for name, tensor in tensors if is_cls_name(name) and _is_vector(tensor)]
    return ClsVector(found[0]) if len(found) == 1 else None


def _is_vector(tensor: Tensor) -> bool:
    return tensor.dim() > 0 and tensor.numel() == tensor.shape[-1] > 1
