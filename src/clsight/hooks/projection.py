"""What does each value become on its way out of the layer? The output projection, found by what it is fed.

The first of the next few linear maps whose input at CLS equals the merged heads, bit for bit, is the output
projection W_O. With it, ‖v W_O‖ tells how much a token can contribute at all (Kobayashi et al. 2020,
arXiv:2004.10102). Names of modules play no part.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clsight.hooks.grams import gram_of
from clsight.hooks.operations import AttentionCall, split
from clsight.hooks.positions import Position
from clsight.hooks.products import exact_dtype, result_dtype
from clsight.hooks.scores import per_query_head

_NEXT_MAPS = 6
_LARGE = 2**20
_LINEAR = 2e-2  # half precision rounds what an adapter adds


@dataclass(frozen=True)
class _Noted:
    is_projection: Tensor  # a boolean scalar
    weight: Tensor  # effective
    gram: Tensor | None


class ProjectionFinder:
    """Wait, after one attention call, for the linear map that reads its merged heads at CLS.

    Attributes:
        noted: The linear maps that were noted, in order.
    """

    def __init__(self, call: AttentionCall, position: Position) -> None:
        self._value = call.value.detach()
        self._heads = call.heads
        self._tokens = call.queries
        self._position = Position.first_of(position.index) if call.is_class_attention else position
        self._merged = self._position.at(call.output.detach()).flatten(1)
        self._merged_other_way = self._heads_first(call) if call.is_folded else None
        self._maps_left = _NEXT_MAPS
        self.noted: list[_Noted] = []

    @property
    def is_waiting(self) -> bool:
        """Whether the projection may still come."""
        return self._maps_left > 0

    def is_projection(self, features: Tensor, weight: Tensor) -> bool:
        """Tell whether this linear map reads the merged heads, which ends the wait.

        Args:
            features: `[…, head · value_dim]`, input of the linear map.
            weight: `[channel, head · value_dim]`.
        """
        if not self._may_be_projection(features, weight):
            return False
        if not any(torch.equal(rows, self._merged) for rows in self._cls_rows(features.detach())):
            return False
        self._maps_left = 0
        return True

    def note(self, features: Tensor, weight: Tensor, receivers: list[nn.Module]) -> None:
        """Note a linear map that may be the projection, on its device and without waiting for it.

        When that is known, its weight may be gone, as where a model is sharded. Only adapters are waited for.
        """
        rows = self._cls_rows(features.detach()) if self._may_be_projection(features, weight) else []
        if not rows:
            return
        equal = torch.cat([(one == self._merged).view(1, -1) for one in rows]).all(1).any()
        if _adapters(receivers) and not bool(equal):
            return
        effective = self.effective_weight(weight, receivers)
        if effective is not None:
            self.noted.append(_Noted(equal, effective, None if self.noted else self.gram(effective)))

    def noted_gram(self) -> Tensor | None:
        """Return `gram` of the first noted map that is the projection, or None. Waits for the device."""
        answers = torch.stack([one.is_projection for one in self.noted]).tolist() if self.noted else []
        for one, is_projection in zip(self.noted, answers, strict=True):
            if is_projection and (one.gram is not None or one.weight.untyped_storage().nbytes()):
                return self.gram(one.weight) if one.gram is None else one.gram
        return None

    def _may_be_projection(self, features: Tensor, weight: Tensor) -> bool:
        self._maps_left -= 1
        if features.device != self._merged.device:
            return False
        return features.shape[-1] == self._merged.shape[-1] and weight.dim() == 2

    def is_read_the_other_way(self, features: Tensor) -> bool:
        """Tell whether a linear map reads the heads merged as if heads came before samples in the batch."""
        other = self._merged_other_way
        if (
            other is None
            or features.shape[-1] != other.shape[-1]
            or features.device != other.device
            or torch.equal(other, self._merged)
        ):
            return False
        return any(torch.equal(rows, other) for rows in self._cls_rows(features.detach()))

    def _heads_first(self, call: AttentionCall) -> Tensor:
        """Return the heads merged at CLS, `[sample, channel]`, if the batch were `[head · sample]`."""
        folded = call.output.detach().flatten(0, 1)
        output = split(folded, 0, call.heads).transpose(0, 1)
        return self._position.at(output).flatten(1)

    def effective_weight(self, weight: Tensor, receivers: list[nn.Module]) -> Tensor | None:
        """Return the weight by which the merged heads really leave the layer, `[channel, head · value_dim]`.

        The linear map may stand inside an adapter that adds to it. The adapter's own weight is what it makes
        of the identity, less what it makes of zero.

        Args:
            weight: The weight of the linear map itself.
            receivers: The modules that got the merged heads and nothing else, outermost first.

        Returns:
            The weight, or None where an adapter may drop values at random.
        """
        adapters = _adapters(receivers)
        if any(module.training for module in adapters):
            return None
        for adapter in adapters:
            effective = self._as_linear(adapter)
            if effective is not None:
                return effective
        return weight

    def _as_linear(self, module: nn.Module) -> Tensor | None:
        """Return the weight of a module that is an affine map, or None if it is not."""
        identity = torch.eye(self._merged.shape[1], dtype=self._merged.dtype, device=self._merged.device)
        with torch.no_grad():
            offset = module.forward(torch.zeros_like(identity[:1]))
            weight: Tensor = (module.forward(identity) - offset).T
            expected = module.forward(self._merged) - offset
        error = (self._merged @ weight.T - expected).abs().amax()
        return weight if bool(error <= _LINEAR * expected.abs().amax()) else None

    def gram(self, weight: Tensor) -> Tensor:
        """Return G = W_Oᵀ W_O of each head, `[group, head / group, value_dim, value_dim]`."""
        groups, dtype = self._value.shape[1], exact_dtype(self._value)
        return gram_of(weight, heads=self._heads, groups=groups, dtype=dtype)

    def value_norm(self, gram: Tensor) -> Tensor:
        """Return ‖v W_O‖ of every token, `[sample, head, key]`."""
        value = self._value
        pieces = torch.chunk(value, len(value)) if value.nbytes > _LARGE else (value,)
        return torch.cat([norm_after(piece[None], gram[None])[0] for piece in pieces])

    def contribution_norm(self, weight: Tensor, row: Tensor) -> Tensor:
        """Return ‖Σ_h row_h v_h W_O‖, what each token adds to the attention output at CLS: `[sample, key]`.

        Args:
            weight: `[channel, head · value_dim]`.
            row: `[sample, head, key]`, what CLS attends to.
        """
        with torch.no_grad(), torch.autocast(row.device.type, enabled=False):
            value = per_query_head(self._value, self._heads).to(row.dtype)
            weighted = (row[..., None] * value).transpose(1, 2).flatten(2)
            norm: Tensor = torch.linalg.vector_norm(weighted @ weight.to(row.dtype).T, dim=-1)
            return norm

    def _cls_rows(self, features: Tensor) -> list[Tensor]:
        """Return what the features hold at CLS, `[sample, channel]`, in each layout that fits them."""
        samples, tokens, position = self._merged.shape[0], self._tokens, self._position
        if features.dim() == 2 and features.shape[0] == samples * tokens:
            unfolded = features.view(tokens, samples, -1).transpose(0, 1), features.view(samples, tokens, -1)
            return [position.in_sequence(one) for one in unfolded]
        if features.dim() == 2 and features.shape[0] == samples:
            return [features]
        rows = []
        if features.shape[:-1] == (samples, tokens):
            rows.append(position.in_sequence(features))
        if features.shape[:-1] == (tokens, samples):
            rows.append(position.in_sequence(features.transpose(0, 1)))
        return rows


def _adapters(receivers: list[nn.Module]) -> list[nn.Module]:
    return [module for module in receivers if not isinstance(module, nn.Linear | nn.Sequential)]


def norm_after(value: Tensor, gram: Tensor) -> Tensor:
    """Return ‖v W_O‖ = √(v G vᵀ) of several layers: `[layer, sample, head, key]`, float32 or float64.

    Args:
        value: `[layer, sample, group, key, value_dim]`.
        gram: `[layer, group, head / group, value_dim, value_dim]`, as `gram_of` gives them.
    """
    with torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        layers, samples, groups, keys, _ = value.shape
        by_group = value.to(gram.dtype).transpose(1, 2).reshape(layers * groups, 1, samples * keys, -1)
        squares = (
            (by_group @ gram.flatten(0, 1)).mul_(by_group).sum(-1)
        )  # [layer · group, head, sample · key]
        norms = squares.clamp_(min=0).sqrt_().to(result_dtype(value))
        return norms.view(layers, -1, samples, keys).transpose(1, 2)
