"""Is the map true? What the capture found must reproduce what the operation gave, else nobody sees it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.cls_view import ClsView

_BASE_ULPS = 64.0
_SCORE_ULPS = 8.0
_HALF_OUTPUT_ULPS = 2.0
_MASKED = 1e-6


def check_view(view: ClsView, *, layer: str, dtype: torch.dtype) -> None:
    """Refuse a layer whose row or column does not reproduce the operation's own result.

    The output check compares `row · value` with the output at CLS, the column check compares two other
    queries with their whole rows. Both may differ by rounding: of the scores, which grows with their size,
    and, in half precision, of the output itself.

    Args:
        view: The layer as CLS sees it.
        layer: Its name, for the message.
        dtype: The dtype that rounded the operation's result most.

    Raises:
        CaptureError: If scores are not finite, or a check is above tolerance.
    """
    broken = view.largest_score.isnan() | view.row.isnan().flatten(1).any(1)
    if bool(broken.any()):
        raise CaptureError(
            layer,
            expected="finite attention scores at CLS",
            got="NaN in the scores",
            where=f"Samples {_first(broken)}",
            next_step="Look for NaN or infinity in the weights and inputs, for example with torch.isfinite",
        )
    ulps = _BASE_ULPS + _SCORE_ULPS * view.largest_score
    rounding = torch.finfo(view.row.dtype).eps * ulps
    if dtype in (torch.bfloat16, torch.float16):
        of_output = rounding + _HALF_OUTPUT_ULPS * torch.finfo(dtype).eps
    else:
        of_output = torch.finfo(dtype).eps * ulps
    _check(view.output_error, of_output, layer, "the CLS row times the values to be the layer's own output")
    _check(view.column_error, rounding, layer, "the CLS column to agree with rows computed whole")


def check_logits(logits: Tensor | None) -> None:
    """Refuse NaN in the model's answer, `[sample, class]`.

    Raises:
        CaptureError: With the samples.
    """
    if logits is not None and bool(logits.isnan().any()):
        raise CaptureError(
            "logits",
            expected="finite logits",
            got="NaN",
            where=f"Samples {_first(logits.isnan().any(1))}",
            next_step="The attention is finite: look for NaN in the weights after it",
        )


def _check(error: Tensor, tolerance: Tensor, layer: str, expected: str) -> None:
    wrong = error > tolerance
    if bool(wrong.any()):
        worst = int((error / tolerance).nan_to_num(0.0).argmax())
        raise CaptureError(
            layer,
            expected=f"{expected}, within {float(tolerance[worst]):.1e}",
            got=f"a difference of {float(error[worst]):.1e}",
            where=f"Samples {_first(wrong)}",
            next_step="The map would be wrong and is not shown; please report the model's attention code",
        )


def dropout_notes(views: Sequence[ClsView], names: Sequence[str]) -> list[str]:
    """Return a sentence if dropout was active, since the output check then says nothing."""
    dropped = [name for name, view in zip(names, views, strict=True) if bool(view.output_error.isnan().all())]
    if not dropped:
        return []
    return [
        f"Dropout was active in {', '.join(dropped)}: the weights shown are before dropout, and the check "
        "against the layer's output is NaN"
    ]


def mask_notes(views: Sequence[ClsView], names: Sequence[str], token_mask: Tensor) -> list[str]:
    """Return a sentence if tokens that are called padding receive attention from CLS.

    Args:
        views: One per layer.
        names: One per layer.
        token_mask: `[sample, token]`, True = real token.
    """
    padding = ~token_mask
    if not bool(padding.any()):
        return []
    worst = [float(view.row.amax(dim=1)[padding].amax()) for view in views]
    largest = max(worst)
    if largest <= _MASKED:
        return []
    return [
        f"The mask calls {int(padding.sum())} tokens padding, but CLS puts up to {largest:.2g} on one of "
        f"them in {names[worst.index(largest)]}: the attention does not honor this mask"
    ]


def _first(wrong: Tensor) -> str:
    return ", ".join(str(sample) for sample in wrong.nonzero().flatten().tolist()[:5])
