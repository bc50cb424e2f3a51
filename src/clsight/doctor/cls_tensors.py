"""Which parameters and buffers of a module may hold [CLS]? By the loader's word, by name, then by shape."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from torch import Tensor, nn

if TYPE_CHECKING:
    from clsight.loading.subject import ClsVector

_NAMED: Final = re.compile(
    r"(^|[._])(cls|class)(_?(token|embedding|embed|emb|vector|vec|param|query))?s?($|[._])"
)
_OTHER_ROLES: Final = re.compile(r"mask|pad|pos|dist|reg|unk|null|storage|prompt|gamma|scale|bias|head")


@dataclass(frozen=True)
class ClsTensor:
    """A tensor that may hold [CLS].

    Attributes:
        name: Its dotted name in the module.
        tensor: The parameter or buffer itself.
        row: The row of `tensor` that is [CLS]; None where it is all of it.
        is_named: Whether its name or its loader says so, not only its shape.
    """

    name: str
    tensor: Tensor
    row: int | None = None
    is_named: bool = True

    @property
    def values(self) -> Tensor:
        """The vector as a view of the tensor."""
        return self.tensor.detach() if self.row is None else self.tensor.detach()[self.row]

    @property
    def shown(self) -> str:
        """Its name, with the row where it is one of many."""
        return self.name if self.row is None else f"{self.name}[{self.row}]"


def find_cls_tensors(module: nn.Module, known: "ClsVector | None", width: int | None) -> list[ClsTensor]:
    """Return the tensors that may hold [CLS], those that are named so, else those of one token's shape.

    Args:
        module: The module.
        known: Where its loader says that [CLS] lives; None if it does not say.
        width: Channels of a token; None if unknown, and then only names count.
    """
    if known is not None:
        return [ClsTensor(_name_of(module, known.tensor), known.tensor, known.row)]
    candidates = [(name, tensor) for name, tensor in _loose_tensors(module) if _is_one_token(tensor, width)]
    named = [ClsTensor(name, tensor) for name, tensor in candidates if _NAMED.search(name)]
    if named or width is None:
        return named
    return [
        ClsTensor(name, tensor, is_named=False)
        for name, tensor in candidates
        if tensor.dim() > 1 and not _OTHER_ROLES.search(name.lower())
    ]


def _loose_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers that are not the weights of an ordinary layer."""
    for path, part in module.named_modules():
        if _is_ordinary(part):
            continue
        prefix = f"{path}." if path else ""
        for name, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)):
            yield prefix + name, tensor


def _is_ordinary(part: nn.Module) -> bool:
    kind = type(part)
    is_single = isinstance(part, nn.Embedding) and part.num_embeddings == 1
    return not is_single and (kind.__module__.startswith("torch.nn.") or "norm" in kind.__name__.lower())


def _is_one_token(tensor: Tensor, width: int | None) -> bool:
    """Tell whether a tensor is one vector, whatever its leading dimensions of size 1."""
    if tensor.dim() == 0 or tensor.numel() != tensor.shape[-1] or not tensor.is_floating_point():
        return False
    return width is None or tensor.numel() == width


def _name_of(module: nn.Module, tensor: Tensor) -> str:
    tensors = (*module.named_parameters(), *module.named_buffers())
    return next((name for name, own in tensors if own is tensor), "the vector of [CLS]")
