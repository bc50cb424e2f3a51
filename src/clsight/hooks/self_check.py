"""Is the map true? What the capture found must reproduce what the operation gave, else nobody sees it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from clsight.errors import CaptureError
from clsight.hooks.assembly import Layer
from clsight.hooks.cls_view import ClsView
from clsight.hooks.shelf import stacked

_BASE_ULPS = 64.0
_SCORE_ULPS = 8.0
_HALF_OUTPUT_ULPS = 2.0
_FACTORS = 2.0
_MASKED = 1e-6


def check_layers(layers: Sequence[Layer], names: Sequence[str]) -> None:
    """Refuse layers whose row or column does not reproduce the operation's own result.

    The output check compares `row · value` with the output at CLS, the column check compares two other
    queries with their whole rows. Both may differ by rounding: of the scores, which grows with their size,
    and of the output itself, in half precision and where the user allows products in fewer bits (TF32).

    Args:
        layers: The layers.
        names: Their names, for the message.

    Raises:
        CaptureError: If scores or values are not finite, or a check is above tolerance; it names the first
            such layer.
    """
    views, dtypes = [layer.view for layer in layers], [layer.coarsest_dtype for layer in layers]
    largest = _gathered([view.largest_score for view in views])
    broken = ~largest.isfinite()
    if bool(broken.any()):
        layer = _first_layer(broken)
        raise CaptureError(
            names[layer],
            expected="finite attention scores at CLS",
            got="NaN or infinity in the scores",
            where=f"Samples {_first(broken[layer])}",
            next_step="Look for NaN or infinity in the weights and inputs, for example with torch.isfinite",
        )
    ulps = _BASE_ULPS + _SCORE_ULPS * largest
    rounding = _column_of([torch.finfo(view.row.dtype).eps for view in views]) * ulps
    half = [dtype in (torch.bfloat16, torch.float16) for dtype in dtypes]
    eps = _column_of([torch.finfo(dtype).eps for dtype in dtypes])
    of_output = torch.where(_column_of(half) > 0, rounding + _HALF_OUTPUT_ULPS * eps, eps * ulps)
    of_output = of_output + _column_of([layer.rounding for layer in layers]) * (_FACTORS + largest)
    output_error = _gathered([view.output_error for view in views])
    unknown = output_error.isnan() & (_column_of([layer.has_dropout for layer in layers]) == 0)
    if bool(unknown.any()):
        layer = _first_layer(unknown)
        raise CaptureError(
            names[layer],
            expected="finite values, and a finite output at CLS",
            got="NaN or infinity, though the scores of CLS are finite",
            where=f"Samples {_first(unknown[layer])}",
            next_step="Look for NaN or infinity in the weights, and for samples whose tokens are all masked",
        )
    column_error = _gathered([view.column_error for view in views])
    _check(output_error, of_output, names, "the CLS row times the values to be the layer's own output")
    _check(column_error, rounding, names, "the CLS column to agree with rows computed whole")


def check_unchanged(layers: Sequence[Layer], names: Sequence[str]) -> None:
    """Refuse to compute anything from queries, keys or values that the model has overwritten since.

    Raises:
        CaptureError: With the layer.
    """
    for layer, name in zip(layers, names, strict=True):
        if layer.call is not None and layer.call.versions != layer.versions:
            raise CaptureError(
                name,
                expected="queries, keys and values that stay as they are until the forward ends",
                got="tensors that the model changed in place, such as a buffer that layers share",
                next_step="Leave keys_values, rollout, received and gradient out of keep=",
            )


def _gathered(values: Sequence[Tensor]) -> Tensor:
    """Return `[layer, sample]` in float64 on the CPU; layers may live on several devices."""
    return stacked(values).T.cpu().double()  # some devices have no float64


def _column_of(values: Sequence[float]) -> Tensor:
    """Return one number per layer as `[layer, 1]`."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def _first_layer(wrong: Tensor) -> int:
    """Return the first layer with something wrong, of `[layer, sample]`."""
    return int(wrong.any(1).nonzero()[0])


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


def _check(error: Tensor, tolerance: Tensor, names: Sequence[str], expected: str) -> None:
    wrong = error > tolerance
    if bool(wrong.any()):
        layer = _first_layer(wrong)
        worst = int((error[layer] / tolerance[layer]).nan_to_num(0.0).argmax())
        raise CaptureError(
            names[layer],
            expected=f"{expected}, within {float(tolerance[layer, worst]):.1e}",
            got=f"a difference of {float(error[layer, worst]):.1e}",
            where=f"Samples {_first(wrong[layer])}",
            next_step="The map would be wrong and is not shown; please report the model's attention code",
        )


def dropout_notes(layers: Sequence[Layer], names: Sequence[str]) -> list[str]:
    """Return a sentence if dropout was active, since the output check then says nothing."""
    dropped = [name for name, layer in zip(names, layers, strict=True) if layer.has_dropout]
    if not dropped:
        return []
    return [
        f"Dropout was active in {', '.join(dropped)}: the weights shown are before dropout, and the check "
        "against the layer's output is NaN"
    ]


def folded_notes(layers: Sequence[Layer], names: Sequence[str]) -> list[str]:
    """Return a sentence on layers in which nothing tells samples from heads.

    Raises:
        CaptureError: If the output projection shows that heads come before samples.
    """
    for layer, name in zip(layers, names, strict=True):
        if layer.is_misread:
            raise CaptureError(
                name,
                expected="samples before heads, `[sample · head, …]`, in the batch of its attention",
                got="heads before samples, as its output projection shows",
                next_step="Capture one sample at a time, or fold heads into the batch behind samples",
            )
    unknown = [
        name
        for layer, name in zip(layers, names, strict=True)
        if layer.is_folded and layer.value_norm is None and min(layer.view.row.shape[:2]) > 1
    ]
    if not unknown:
        return []
    return [
        f"The batch of {', '.join(unknown)} holds samples and heads: samples are taken to come first, and no "
        "output projection confirms it"
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
    worst = [float(view.row.amax(dim=1)[padding.to(view.row.device)].amax()) for view in views]
    largest = max(worst)
    if largest <= _MASKED:
        return []
    return [
        f"The mask calls {int(padding.sum())} tokens padding, but CLS puts up to {largest:.2g} on one of "
        f"them in {names[worst.index(largest)]}: the attention does not honor this mask"
    ]


def _first(wrong: Tensor) -> str:
    return ", ".join(str(sample) for sample in wrong.nonzero().flatten().tolist()[:5])
