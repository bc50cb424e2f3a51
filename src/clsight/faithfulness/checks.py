"""Is what was removed really gone, and nothing else? Further passes that tell before any score is given.

- Samples must not change each other's answers: else a batch, or an input with tokens first, is misread.
- Hidden tokens must not reach the answer: a mask may be dropped silently.
- After a deletion the encoder must see that many tokens less.
- A baseline must change the tokens that it stands for, and no other, in the keys of the first layer.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from clsight.errors import CaptureError
from clsight.faithfulness.attributed import Flags
from clsight.faithfulness.sequences import sequence_in
from clsight.hooks import capture
from clsight.hooks.calls import tensors_in
from clsight.hooks.random_streams import undisturbed

if TYPE_CHECKING:
    from clsight.faithfulness.answers import Answers
    from clsight.faithfulness.batch import Batch
    from clsight.faithfulness.removal import Remover

_CLOSE: Final = 1e-4
"""How far two passes of the same content may differ: other kernels in float32 stay below 1e-5."""
_HALF: Final = 2e-2
_UNSEEN: Final = (
    "Where tokens stand in the input was not checked: the attention of the model could not be seen"
)


def check_parts(answers: "Answers", remover: "Remover", *, seed: int) -> list[str]:
    """Check one way of removal on one batch, and return notes.

    Raises:
        CaptureError: If a check fails, with what it found.
    """
    batch = answers.batch
    if not batch.removable.any():
        return []
    _check_independence(answers)
    if answers.way == "mask":
        _check_hidden(answers, remover)
        return []
    return _check_places(batch, remover, is_deletion=answers.way == "deletion", seed=seed)


def _check_independence(answers: "Answers") -> None:
    """Refuse a model in which removing tokens of one sample changes the answer of another."""
    batch = answers.batch
    first = int(batch.removable.any(1).argmax())
    removed = np.zeros_like(batch.removable)
    removed[first] = batch.removable[first]
    changed = np.abs(answers.without(removed) - answers.whole)
    changed[first] = 0.0
    if changed.max() > _tolerance(batch):
        raise CaptureError(
            batch.name,
            expected="samples that do not change each other's answers",
            got=f"a change of {changed.max():.2g} in sample {int(changed.argmax())} when tokens of sample "
            f"{first} are removed",
            where="The inputs may have tokens before samples, or the model may mix its batch",
            next_step="Pass inputs with samples first, or one sample per batch",
        )


def _check_hidden(answers: "Answers", remover: "Remover") -> None:
    """Refuse a mask that lets hidden tokens through to the answer."""
    batch = answers.batch
    [part] = remover.parts(batch.removable)
    hidden = answers.without(batch.removable)
    others = [answers.of([replace(part, inputs=other)]) for other in _other_contents(batch, part.inputs)]
    change = max(float(np.abs(other - hidden).max()) for other in others)
    if change > _tolerance(batch):
        raise CaptureError(
            batch.name,
            expected="an answer that does not depend on tokens that the mask hides",
            got=f"a change of {change:.2g} when their content changes",
            where="The mask is dropped, or tokens reach the answer on another way than attention",
            next_step='Remove tokens by="baseline", and see what clsight.diagnose says of the mask',
        )


def _other_contents(batch: "Batch", inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the inputs with other content at every token that may be removed: noise, or one id for all."""
    sequence = sequence_in(batch)
    if sequence is None:
        yield {name: _noisy(value) if _is_picture(value) else value for name, value in inputs.items()}
        return
    name = sequence.names[0]
    content = inputs[name]
    flags = torch.as_tensor(sequence.own(batch.removable)).to(content.device)
    if sequence.holds_ids:
        # Only ids of tokens that may be removed: RoBERTa counts positions without the padding id.
        low, high = content[flags].min(), content[flags].max()
        high = high if high > low else low + (1 if low == 0 else -1)
        yield from ({**inputs, name: torch.where(flags, one, content)} for one in (low, high))
    else:
        yield {**inputs, name: torch.where(flags[..., None], _noisy(content), content)}


def _is_picture(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 2


def _noisy(tensor: Tensor) -> Tensor:
    """Return numbers with noise of their own size added, always the same."""
    generator = torch.Generator().manual_seed(0)
    size = float(tensor.float().square().mean().sqrt()) or 1.0
    return tensor + size * torch.randn(tensor.shape, generator=generator).to(tensor)


def _check_places(batch: "Batch", remover: "Remover", *, is_deletion: bool, seed: int) -> list[str]:
    """Remove one token of each sample, and see in the first layer that it was that token."""
    removed = np.zeros_like(batch.removable)
    for sample, there in enumerate(batch.removable):
        positions = np.flatnonzero(there)
        removed[sample, positions[len(positions) // 2 : len(positions) // 2 + 1]] = True
    parts = remover.parts(removed)
    try:
        before = _seen(batch, batch.call.inputs, seed)
    except CaptureError:
        return [_UNSEEN]
    part = parts[-1]  # of a deletion, the samples that lost a token
    after = _seen(batch, part.inputs, seed)
    if is_deletion:
        _check_length(batch, before, after)
    else:
        _check_changed(batch, removed, before, after, part.inputs)
    return []


def _seen(batch: "Batch", inputs: Any, seed: int) -> xr.DataArray:
    """Return the keys of the first layer, `[sample, head, token, head_dim]`."""
    call = batch.call
    with undisturbed(call.module, seed):
        record = capture(call.module, inputs, within=call.within, keep="keys_values")
    return record["keys"].isel(layer=0)


def _check_length(batch: "Batch", before: xr.DataArray, after: xr.DataArray) -> None:
    expected = before.sizes["token"] - 1
    if after.sizes["token"] != expected:
        raise CaptureError(
            batch.name,
            expected=f"{expected} tokens in the encoder once one of {before.sizes['token']} is cut out",
            got=str(after.sizes["token"]),
            next_step='Remove tokens by="mask" or by="baseline"',
        )


def _check_changed(
    batch: "Batch", removed: Flags, before: xr.DataArray, after: xr.DataArray, inputs: Any
) -> None:
    """Refuse a baseline that changes other tokens, or none although the inputs differ."""
    distance = abs(after - before).max(["head", "head_dim"]).values
    changed = distance > _CLOSE * float(np.abs(before).max())
    if (changed & ~removed).any():
        sample, token = np.argwhere(changed & ~removed)[0]
        raise CaptureError(
            batch.name,
            expected="an input in which each token stands for itself alone",
            got=f"a change of token {token} when token {int(removed[sample].argmax())} of sample {sample} is "
            "replaced",
            where="The first layers mix positions, or the tokens of the input stand elsewhere",
            next_step='Remove tokens by="mask", or pass a Subject, which knows where its patches are',
        )
    if not changed.any() and _differ(batch.call.inputs, inputs):
        raise CaptureError(
            batch.name,
            expected="a token that changes when a baseline stands for it",
            got="the same keys at every token in the first layer",
            where="What was replaced is no content of the sequence, or the baseline says the same",
            next_step='Remove tokens by="mask", or pass another baseline=',
        )


def _differ(some: Any, others: Any) -> bool:
    """Return whether any tensor in two inputs of one layout differs."""
    pairs = zip(tensors_in(some), tensors_in(others), strict=True)
    return any(not torch.equal(one, other) for one, other in pairs)


def _tolerance(batch: "Batch") -> float:
    dtypes = {part.dtype for part in batch.call.module.parameters()}
    return _HALF if dtypes & {torch.float16, torch.bfloat16} else _CLOSE
