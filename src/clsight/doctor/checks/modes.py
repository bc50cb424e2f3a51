"""Is the model in the mode in which it answers? Train mode, and dropout that stays on."""

from collections.abc import Iterator

from clsight.doctor.examination import Examination
from clsight.doctor.findings import Finding, note, ok, warning
from clsight.doctor.registry import check


@check(
    asks="Is dropout off in eval mode?",
    finds={"warning": "dropout runs in eval mode too, by its modules"},
)
def dropout_is_off(examination: Examination) -> Iterator[Finding]:
    """Watch a pass in eval mode for dropout that acts."""
    active = examination.first.result.dropouts
    if not active:
        yield ok("No dropout acts in eval mode.")
        return
    places = ", ".join(f"`{name or 'the module itself'}`" for name in dict.fromkeys(active))
    yield warning(
        f"Dropout acts {len(active)} times in a forward pass in eval mode, in {places}.",
        why="Two forward passes differ, and the weights shown are before dropout.",
        next_step="Use nn.Dropout, or pass training=self.training to the function (dropout_p=0.0 to "
        "scaled_dot_product_attention).",
    )


@check(
    asks="Is the model in eval mode as it was given?",
    finds={
        "warning": "train mode, with dropout or batch norm that act in it",
        "note": "train mode, without anything that acts differently in it",
    },
)
def eval_mode(examination: Examination) -> Iterator[Finding]:
    """Look at the mode of each submodule; the examination itself ran in eval mode."""
    training = [part for part in examination.module.modules() if part.training]
    if not training:
        yield ok("The model is in eval mode.")
        return
    acting = [type(part).__name__ for part in training if _acts(part)]
    if acting:
        yield warning(
            f"The model is in train mode: {len(acting)} modules act differently in it ({acting[0]} and "
            "others).",
            why="clsight looks in eval mode; your own forward passes drop numbers at random until you do "
            "too.",
            next_step="Call module.eval() before you predict.",
        )
        return
    yield note(
        "The model is in train mode, but nothing in it acts differently there.",
        why="Later dropout would.",
        next_step="Call module.eval() before you predict.",
    )


def _acts(part: object) -> bool:
    """Tell whether a module computes something else in train mode."""
    name = type(part).__name__
    if "BatchNorm" in name:
        return True
    chance = getattr(part, "p", 0.0) if "Dropout" in name else getattr(part, "dropout", 0.0)
    if "DropPath" in name:
        chance = getattr(part, "drop_prob", 0.0) or 0.0
    return isinstance(chance, int | float) and not isinstance(chance, bool) and chance > 0
