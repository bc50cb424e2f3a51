"""Is the map true? What the capture found must reproduce what the operation gave, else nobody sees it."""

import torch

from clsight.errors import CaptureError
from clsight.hooks.cls_view import ClsView

_BASE_ULPS = 64.0
_SCORE_ULPS = 8.0
_HALF_OUTPUT_ULPS = 2.0


def check_view(view: ClsView, *, layer: str, dtype: torch.dtype) -> None:
    """Refuse a layer whose row or column does not reproduce the operation's own result.

    The output check compares `row · value` with the output at CLS, the column check compares two other queries
    with their whole rows. Both may differ by rounding: of the scores, which grows with their size, and, in half
    precision, of the output itself.

    Args:
        view: The layer as CLS sees it.
        layer: Its name, for the message.
        dtype: The dtype the operation ran in.

    Raises:
        CaptureError: If scores are not finite, or a check is above tolerance.
    """
    if bool(view.largest_score.isnan().any()) or bool(view.row.isnan().any()):
        raise CaptureError(
            layer,
            expected="finite attention scores at CLS",
            got="NaN in the scores",
            where=f"Samples {_where(view.largest_score.isnan())}",
            next_step="Check the weights and inputs for NaN or infinity, for example with torch.isfinite",
        )
    rounding = torch.finfo(view.row.dtype).eps * (_BASE_ULPS + _SCORE_ULPS * view.largest_score)
    output_rounding = rounding
    if dtype in (torch.bfloat16, torch.float16):
        output_rounding = rounding + _HALF_OUTPUT_ULPS * torch.finfo(dtype).eps
    _check(
        view.output_error,
        output_rounding,
        layer,
        "the CLS row times the values to give the layer's own output",
    )
    _check(view.column_error, rounding, layer, "the CLS column to agree with rows computed whole")


def _check(error: torch.Tensor, tolerance: torch.Tensor, layer: str, expected: str) -> None:
    wrong = error > tolerance
    if bool(wrong.any()):
        worst = int((error / tolerance).nan_to_num(0.0).argmax())
        raise CaptureError(
            layer,
            expected=f"{expected}, within {float(tolerance[worst]):.1e}",
            got=f"a difference of {float(error[worst]):.1e}",
            where=f"Samples {_where(wrong)}",
            next_step="The map would be wrong and is not shown; please report the model's attention code",
        )


def _where(wrong: torch.Tensor) -> str:
    return ", ".join(str(sample) for sample in wrong.nonzero().flatten().tolist()[:5])
