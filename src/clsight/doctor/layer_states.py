"""The states between layers, for all tokens, as far as the checks need them: one sequence at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from clsight.doctor.projections import Projections
from clsight.hooks.calls import tensors_in


@dataclass(frozen=True)
class NormInput:
    """What one norm received at [CLS] and elsewhere, as the factor it puts on a gradient.

    Attributes:
        name: Of the norm.
        eps: What it adds to the variance.
        at_cls: 1/√(variance + eps) at [CLS], the largest over samples.
        elsewhere: The median of the same over the other tokens.
    """

    name: str
    eps: float
    at_cls: float
    elsewhere: float


@dataclass(frozen=True)
class Extent:
    """How large the states after one layer are.

    Attributes:
        layer: Its name.
        largest: Largest absolute value.
        median: Median absolute value.
        place: Sample, token and channel of the largest.
        longest: Largest norm of a token over the median norm of its sequence.
        longest_at: Sample and token of that.
    """

    layer: str
    largest: float
    median: float
    place: tuple[int, int, int]
    longest: float
    longest_at: tuple[int, int]


@dataclass
class LayerStates:
    """Watch the layers of one pass.

    Attributes:
        layers: Name to module, as `Examination.layers`.
        positions: `[sample]`, position of [CLS].
        tokens: Length of the sequence.
        measured: Whether to fill `extents` and `norms`.
        entering: `[sample, token, channel]`, what entered the first layer, or the attention in it where no
            layer was called with it; None if not found.
        projections: The linear maps before the first attention.
        is_projected: Whether `entering` is what `projections` found.
        cls_leaving: `[sample, channel]`, [CLS] after the last layer seen.
        extents: One per run of a layer.
        norms: One per norm that saw the whole sequence.
    """

    layers: Mapping[str, nn.Module]
    positions: Tensor
    tokens: int
    measured: bool = False
    entering: Tensor | None = None
    cls_leaving: Tensor | None = None
    extents: list[Extent] = field(default_factory=list)
    norms: list[NormInput] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.projections = Projections(self.sequence)
        self.is_projected = False
        self._names = {module: name.partition("#")[0] for name, module in self.layers.items()}
        self._first = next(iter(self.layers.values()), None)

    def on_leave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        """Look at a module that just ran."""
        if module in self._names:
            entering, leaving = self.sequence(inputs), self.sequence(output)
            if module is self._first and self.entering is None:
                self.is_projected = entering is None
                self.entering = self.projections.entering if entering is None else entering.clone()
            if leaving is not None:
                order = torch.arange(len(self.positions))
                self.cls_leaving = leaving[order, self.positions].clone()
                if self.measured:
                    self.extents.append(_extent(self._names[module], leaving))
        elif self.measured and "norm" in type(module).__name__.lower():
            states = self.sequence(inputs)
            if states is not None:
                self.norms.append(_norm_input(name, module, states, self.positions))

    def sequence(self, value: Any) -> Tensor | None:
        """Return the first sequence of states among tensors, `[sample, token, channel]`, or None."""
        samples, tokens = len(self.positions), self.tokens
        for tensor in tensors_in(value):
            if tensor.dim() == 3 and tensor.is_floating_point():
                if tensor.shape[:2] == (samples, tokens):
                    return tensor.detach()
                if tensor.shape[:2] == (tokens, samples):
                    return tensor.detach().transpose(0, 1)
        return None


def _extent(layer: str, states: Tensor) -> Extent:
    sizes = states.float().abs()
    flat = int(sizes.argmax())
    sample, rest = divmod(flat, sizes[0].numel())
    token, channel = divmod(rest, sizes.shape[2])
    norms = torch.linalg.vector_norm(states.float(), dim=2)  # [sample, token]
    ratios = norms / norms.median(dim=1, keepdim=True).values.clamp(min=1e-12)
    at = int(ratios.argmax())
    return Extent(
        layer=layer,
        largest=float(sizes.flatten()[flat]),
        median=float(sizes.median()),
        place=(sample, token, channel),
        longest=float(ratios.flatten()[at]),
        longest_at=divmod(at, ratios.shape[1]),
    )


def _norm_input(name: str, module: nn.Module, states: Tensor, positions: Tensor) -> NormInput:
    eps = _epsilon(module)
    states = states.double()
    centered = isinstance(module, nn.LayerNorm) or "RMS" not in type(module).__name__
    spread = states.var(dim=2, unbiased=False) if centered else states.square().mean(dim=2)
    factors = (spread + eps).rsqrt()  # [sample, token]
    is_cls = torch.zeros_like(factors, dtype=torch.bool)
    is_cls[torch.arange(len(positions)), positions] = True
    others = factors[~is_cls]
    return NormInput(
        name,
        eps,
        at_cls=float(factors[is_cls].max()),
        elsewhere=float(others.median()) if others.numel() else float("nan"),
    )


def _epsilon(module: nn.Module) -> float:
    """Return what a norm adds to the variance, 0 if it does not say."""
    values = (getattr(module, name, None) for name in ("eps", "variance_epsilon"))
    return next((value for value in values if isinstance(value, float)), 0.0)
