"""Which product gave the scores that a softmax turned into weights? Tags on tensors, for explicit attention.

A model that writes attention out multiplies queries with keys, changes the scores (scale, mask, bias, view),
takes a softmax, perhaps drops weights, and multiplies with values. `Tags` remembers, for tensors that are
alive, what they are in that chain. Nothing is attached to the model's own tensors.
"""

from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import Tensor


@dataclass(frozen=True)
class Product:
    """The tensor is `left · rightᵀ` up to elementwise changes: scores, if a softmax follows.

    Attributes:
        left: `[..., query, head_dim]`.
        right: `[..., key, head_dim]`.
    """

    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class Weights:
    """The tensor is a softmax over the last dimension of `scores`, which came from `product`.

    Attributes:
        product: Queries and keys.
        scores: What the softmax was taken of.
        dtype: The dtype the softmax was taken in, which may be coarser than the scores'.
        dropped: Whether dropout followed.
    """

    product: Product
    scores: Tensor
    dtype: torch.dtype
    dropped: bool = False


Tag = Product | Weights


class Tags:
    """What tensors are in the chain of explicit attention, forgotten with the tensors themselves."""

    def __init__(self) -> None:
        self.entries: dict[int, tuple[ref[Tensor], Tag]] = {}

    def set(self, tensor: Tensor, tag: Tag) -> None:
        """Remember `tag` for `tensor` as long as the tensor lives."""
        key = id(tensor)
        self.entries[key] = (ref(tensor, lambda _: self.entries.pop(key, None)), tag)

    def get(self, tensor: Any) -> Tag | None:
        """Return the tag of a tensor, or None."""
        entry = self.entries.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def of_memory(self, tensor: Tensor) -> Tag | None:
        """Return the tag of a tensor that shares its memory with this one: this may be a view of it."""
        storage = tensor.untyped_storage()._cdata
        for reference, tag in self.entries.values():
            tagged = reference()
            if tagged is not None and tagged.untyped_storage()._cdata == storage:
                return tag
        return None

    def carry(self, arguments: tuple[Any, ...], result: Any) -> None:
        """Give `result` the tag of the argument that it is an elementwise change or a view of."""
        if not isinstance(result, torch.Tensor):
            return
        for argument in arguments:
            tag = self.get(argument) if isinstance(argument, torch.Tensor) else None
            if tag is not None and _same_scores(argument, result):
                self.set(result, tag)
                return

    def turn(self, before: Any, after: Any) -> bool:
        """Tag a view whose last two dimensions may be those of a product the other way round.

        Returns:
            Whether that was so: queries and keys have then changed places.
        """
        tag = self.get(before)
        if not isinstance(tag, Product) or not isinstance(after, torch.Tensor):
            return False
        turned = before.transpose(-2, -1)
        is_turned = (turned.shape, turned.stride()) == (after.shape, after.stride())
        if is_turned and after.data_ptr() == before.data_ptr():
            self.set(after, Product(tag.right, tag.left))
            return True
        return False

    def clear(self) -> None:
        """Forget every tag."""
        self.entries.clear()


def _same_scores(before: Tensor, after: Tensor) -> bool:
    """Tell whether two tensors hold the same matrix of scores, in shape."""
    return before.numel() == after.numel() and before.shape[-2:] == after.shape[-2:]


def matrix_product(left: Tensor, right: Tensor) -> Product | None:
    """Return the product `left @ right` as a tag, or None if it cannot be queries times keys."""
    if left.dim() < 3 or right.dim() < 3:
        return None
    return Product(left, right.transpose(-2, -1))


@dataclass(frozen=True)
class EinsumPlan:
    """How the two operands and the result of an einsum become one batched matrix product.

    Attributes:
        left: Order of the left operand's dimensions as `[batch…, i, c]`.
        right: Order of the right operand's dimensions as `[batch…, j, c]`.
        result: Order of the result's dimensions as `[batch…, i, j]`.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    result: tuple[int, ...]


def plan_einsum(equation: str) -> EinsumPlan | None:
    """Return the plan of an equation that is a batched matrix product, such as `bhid,bhjd->bhij`, else None.

    One index is summed, one belongs to the left operand alone, one to the right operand alone.
    """
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    left, comma, right = inputs.partition(",")
    if not arrow or not comma or "." in equation or "," in right:
        return None
    summed = (set(left) & set(right)) - set(result)
    only_left, only_right = set(left) - set(right), set(right) - set(left)
    if not len(summed) == len(only_left) == len(only_right) == 1 or len(result) < 3:
        return None
    i, j, c = only_left.pop(), only_right.pop(), summed.pop()
    batch = "".join(name for name in left if name not in (i, c))
    if set(result) != {*batch, i, j}:
        return None
    return EinsumPlan(
        _order(left, batch + i + c), _order(right, batch + j + c), _order(result, batch + i + j)
    )


def _order(names: str, wanted: str) -> tuple[int, ...]:
    return tuple(names.index(name) for name in wanted)
