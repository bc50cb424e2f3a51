"""The parts of one layer that attention's result passes through on its way into the residual stream."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from clsight.hooks.operations import AttentionCall
from clsight.hooks.positions import Position
from clsight.hooks.products import exact_dtype


@dataclass(frozen=True)
class Norm:
    """A LayerNorm or root mean square norm with what it read.

    Attributes:
        weight: `[channel]`, γ; None: ones.
        bias: `[channel]`, β; None: zeros.
        eps: What it adds to the variance.
        centers: Whether it takes off the mean (LayerNorm does, a root mean square norm does not).
        states: `[sample, token, channel]`, what it read.
    """

    weight: Tensor | None
    bias: Tensor | None
    eps: float
    centers: bool
    states: Tensor

    def scaled(self, vectors: Tensor, of: Tensor) -> Tensor:
        """Return γ · (v − mean v) / sd, with the sd of the states the norm really read: linear in v.

        Args:
            vectors: `[…, channel]`.
            of: `[…, channel]`, the states whose standard deviation counts.
        """
        if self.centers:
            vectors = vectors - vectors.mean(-1, keepdim=True)
        vectors = vectors * self._factor(of)
        return vectors if self.weight is None else vectors * self.weight.to(vectors.dtype)

    def pulled_back(self, gradient: Tensor, of: Tensor) -> Tensor:
        """Return the gradient before the norm, so that `scaled(v) · g` is v times what comes out.

        Args:
            gradient: `[…, channel]`.
            of: `[…, channel]`, as in `scaled`.
        """
        if self.weight is not None:
            gradient = gradient * self.weight.to(gradient.dtype)
        gradient = gradient * self._factor(of)
        return gradient - gradient.mean(-1, keepdim=True) if self.centers else gradient

    def _factor(self, of: Tensor) -> Tensor:
        """Return 1 / √(variance + eps), or of the mean square."""
        if self.centers:
            of = of - of.mean(-1, keepdim=True)
        return (of.square().mean(-1, keepdim=True) + self.eps).rsqrt()


@dataclass
class LayerParts:
    """One layer, as far as its parts were found; each was found by what it is fed.

    Attributes:
        name: Name of the layer.
        call: Its attention operation, detached.
        projection: `[channel, head · value_dim]`, W_O, with a LayerScale behind it multiplied in.
        projection_bias: `[channel]`, b_O likewise; None: zeros.
        residual: `[sample, token, channel]`, x, what attention's result is added to.
        attended: `[sample, token, channel]`, the residual stream behind attention, norm included.
        norm: The norm that the sum x + attention goes through on its way (post-norm); None without one.
        fed_forward: `[sample, token, channel]`, what is added to that; None without a feed-forward part.
        second_norm: The norm behind that sum; None without one.
        leaving: `[sample, token, channel]`, the residual stream after the layer.
        absent: Name of a part to the reason why it was not found.
    """

    name: str
    call: AttentionCall
    projection: Tensor | None = None
    projection_bias: Tensor | None = None
    residual: Tensor | None = None
    attended: Tensor | None = None
    norm: Norm | None = None
    fed_forward: Tensor | None = None
    second_norm: Norm | None = None
    leaving: Tensor | None = None
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which everything is computed: at least as exact as float32."""
        return exact_dtype(self.call.query)

    def found(self, part: str) -> Tensor:
        """Return a part that was found, in `dtype`; a reason in `absent` says that it was not."""
        tensor = getattr(self, part)
        assert isinstance(tensor, Tensor), self.absent
        return tensor.to(self.dtype)

    def at_cls(self, part: str, position: Position) -> Tensor:
        """Return a part that was found at CLS: `[sample, channel]`."""
        return position.in_sequence(self.found(part))

    @property
    def output_bias(self) -> Tensor:
        """b_O, `[channel]`, zeros without one."""
        weight = self.found("projection")
        bias = self.projection_bias
        return weight.new_zeros(len(weight)) if bias is None else bias.to(weight.dtype)

    def added_by_biases(self, of: Tensor) -> Tensor:
        """Return what b_O and the norm's β add to the stream after attention: `[…, channel]`.

        Args:
            of: `[…, channel]`, the states that the norm read; any without a norm.
        """
        bias = self.output_bias.expand(of.shape)
        if self.norm is None:
            return bias
        scaled = self.norm.scaled(bias, of)
        return scaled if self.norm.bias is None else scaled + self.norm.bias.to(scaled.dtype)
