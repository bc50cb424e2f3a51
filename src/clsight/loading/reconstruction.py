"""A forward pass for a state dict: a module whose tensors have the names of the file.

Read `Reconstruction.forward` first. What it computes is what most users write around `nn.TransformerEncoder`;
the file itself does not say it, so every choice that it leaves open stands in `Plan`.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from clsight.errors import CheckpointError
from clsight.loading.options import Activation, Norm
from clsight.loading.state_dict_groups import PASS_THE_CLASS, Shapes
from clsight.loading.state_dict_layers import LayerNames, Tower
from clsight.loading.state_dict_maps import Parts

_DEEPEST: Final = 32


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the forward pass is made of.

    Attributes:
        tower: The layers.
        parts: What stands around them.
        heads: Attention heads per layer.
        norm: Whether a layer norms what enters its two parts (`pre`), or the sums after them (`post`).
        activation: Of the feed-forward part.
        cls_index: Where [CLS] is put into the sequence, and where the head reads.
        position_of_cls: Whether the positions have a row for [CLS].
        epsilon: Of the norms.
    """

    tower: Tower
    parts: Parts
    heads: int
    norm: Norm
    activation: Activation
    cls_index: int
    position_of_cls: bool
    epsilon: float = 1e-5


class Reconstruction(nn.Module):
    """An encoder with a [CLS], as far as a state dict tells it.

    Args:
        plan: What to compute.
        shapes: The tensors of the file; the module's own are on the meta device until they are loaded.
    """

    def __init__(self, plan: Plan, shapes: Shapes) -> None:
        super().__init__()
        self._plan = plan  # underscored, as are all attributes here: the file's names stand beside them
        for name in (plan.parts.cls, plan.parts.position):
            if name is not None:
                _hold(self, name, nn.Parameter(torch.empty(shapes[name], device="meta")))
        for name in plan.parts.modules:
            _hold(self, name, _make(name, plan, shapes))
        for layer in plan.tower.layers:
            _hold(self, layer.block, _make_layer(layer, plan, shapes))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [batch, class], or the states [batch, token, width] where there is no head.

        Args:
            x: [batch, time, feature] numbers, [batch, time] ids or [batch, color, height, width] pictures.
        """
        parts = self._plan.parts
        states = self._with_cls(self._embedded(x))  # [batch, token, width]
        if parts.early_norm is not None:
            states = _part(self, parts.early_norm)(states)
        for layer in self._plan.tower.layers:
            states = _part(self, layer.block)(states)
        if parts.final_norm is not None:
            states = _part(self, parts.final_norm)(states)
        if parts.head is None:
            return states
        answer = states[:, self._plan.cls_index]  # [batch, width]
        if parts.head_norm is not None:
            answer = _part(self, parts.head_norm)(answer)
        logits: Tensor = _part(self, parts.head)(answer)
        return logits

    def _embedded(self, x: Tensor) -> Tensor:
        """Return the tokens of the input, [batch, time, width]."""
        parts = self._plan.parts
        if parts.convolution is not None:
            grid = _part(self, parts.convolution)(x)  # [batch, width, row, column]
            return torch.flatten(grid, 2).transpose(1, 2)
        for name in (parts.embedding, parts.linear):
            if name is not None:
                x = _part(self, name)(x)
        return x

    def _with_cls(self, tokens: Tensor) -> Tensor:
        """Return the sequence with [CLS], where there is one, and positions: [batch, token, width]."""
        parts, index = self._plan.parts, self._plan.cls_index
        rows = None
        if parts.position is not None:
            rows = tensor_of(self, parts.position).reshape(-1, tokens.shape[-1])  # [position, width]
        if rows is not None and not self._plan.position_of_cls:
            tokens = tokens + rows[: tokens.shape[1]]
        if parts.cls is not None:
            cls = tensor_of(self, parts.cls).reshape(1, 1, -1).expand(len(tokens), -1, -1)
            place = index if index >= 0 else tokens.shape[1] + 1 + index
            tokens = torch.cat((tokens[:, :place], cls, tokens[:, place:]), dim=1)
        if rows is not None and self._plan.position_of_cls:
            tokens = tokens + rows[: tokens.shape[1]]
        return tokens


class Part(nn.Module):
    """Holds what the file has below one name."""


class Block(Part):
    """Attention and, if there is one, a feed-forward part, each with its norm: [batch, token, width].

    Args:
        layer: Its modules, by their names in the file.
        plan: What to compute.
    """

    def __init__(self, layer: LayerNames, plan: Plan) -> None:
        super().__init__()
        self._is_pre = plan.norm == "pre"
        self._activation = functional.relu if plan.activation == "relu" else functional.gelu
        self._attention = _inside(layer.block, layer.attention)
        self._norms = tuple(_inside(layer.block, name) for name in layer.norms)
        self._feedforward = tuple(_inside(layer.block, name) for name in layer.feedforward)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states after this layer."""
        states = self._added(states, self._attend, 0)
        return self._added(states, self._feed, 1) if self._feedforward else states

    def _added(self, states: Tensor, part: Any, index: int) -> Tensor:
        """Return the states plus what a part makes of them, normed before or after."""
        if not self._norms:
            changed: Tensor = states + part(states)
            return changed
        norm = _part(self, self._norms[index])
        changed = states + part(norm(states)) if self._is_pre else norm(states + part(states))
        return changed

    def _attend(self, states: Tensor) -> Tensor:
        attended, _ = _part(self, self._attention)(states, states, states, need_weights=False)
        return attended  # type: ignore[no-any-return]

    def _feed(self, states: Tensor) -> Tensor:
        first, second = (_part(self, name) for name in self._feedforward)
        changed: Tensor = second(self._activation(first(states)))
        return changed


class LoneAttention(nn.MultiheadAttention):
    """An attention that is a layer of its own: its output is added to the states."""

    def forward(self, states: Tensor) -> Tensor:  # type: ignore[override]
        """Return the states after this layer, [batch, token, width]."""
        attended, _ = super().forward(states, states, states, need_weights=False)
        changed: Tensor = states + attended
        return changed


def _make_layer(layer: LayerNames, plan: Plan, shapes: Shapes) -> nn.Module:
    if layer.block == layer.attention:
        return _attention(LoneAttention, layer.attention, plan, shapes)
    block = Block(layer, plan)
    attention = _attention(nn.MultiheadAttention, layer.attention, plan, shapes)
    _hold(block, _inside(layer.block, layer.attention), attention)
    for name in (*layer.norms, *layer.feedforward):
        _hold(block, _inside(layer.block, name), _make(name, plan, shapes))
    return block


def _attention(
    kind: type[nn.MultiheadAttention], name: str, plan: Plan, shapes: Shapes
) -> nn.MultiheadAttention:
    prefix = f"{name}." if name else ""
    return kind(
        plan.tower.width,
        plan.heads,
        bias=f"{prefix}in_proj_bias" in shapes,
        add_bias_kv=f"{prefix}bias_k" in shapes,
        batch_first=True,
        device="meta",
    )


def _make(name: str, plan: Plan, shapes: Shapes) -> nn.Module:
    """Return the module that tensors of these shapes belong to."""
    weight, bias = shapes[f"{name}.weight"], f"{name}.bias" in shapes
    if len(weight) == 1:
        return nn.LayerNorm(weight[0], eps=plan.epsilon, bias=bias, device="meta")
    if name == plan.parts.embedding:
        return nn.Embedding(weight[0], weight[1], device="meta")
    if name == plan.parts.convolution:
        patch = (weight[2], weight[3])
        return nn.Conv2d(weight[1], weight[0], patch, stride=patch, bias=bias, device="meta")
    return nn.Linear(weight[1], weight[0], bias=bias, device="meta")


def tensor_of(root: nn.Module, name: str) -> Tensor:
    """Return a tensor by its dotted name, read as an attribute of the module that holds it."""
    owner, _, own = name.rpartition(".")
    tensor: Tensor = getattr(_part(root, owner) if owner else root, own)
    return tensor


def _part(root: nn.Module, name: str) -> Any:
    """Return a module by its dotted name."""
    for part in name.split("."):
        root = root._modules[part]  # type: ignore[assignment]
    return root


def _hold(root: nn.Module, name: str, value: nn.Module | nn.Parameter) -> None:
    """Register a module or parameter below `root` under a dotted name; what stands there moves into it."""
    *above, own = name.split(".")
    odd = [part for part in (*above, own) if not part or hasattr(nn.Module, part)]
    if odd or len(above) > _DEEPEST:
        raise CheckpointError(
            f"tensor {name[:80]}",
            expected=f"a name of at most {_DEEPEST} parts, none of which nn.Module itself uses",
            got=f"`{odd[0]}` in it" if odd else f"one of {len(above) + 1} parts",
            next_step=PASS_THE_CLASS,
        )
    for part in above:
        root = root._modules.setdefault(part, Part())  # type: ignore[assignment]
    if isinstance(value, nn.Parameter):
        root.register_parameter(own, value)
        return
    before = root._modules.get(own)
    if before is not None:
        value._parameters |= before._parameters
        value._modules |= before._modules
    root._modules[own] = value


def _inside(block: str, name: str) -> str:
    return name.removeprefix(f"{block}.")
