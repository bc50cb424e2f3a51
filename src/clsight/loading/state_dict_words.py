"""What was inferred of a state dict, and what assumed, in words: nobody should take a guess for a fact."""

from math import prod

from clsight.loading.plain_input import PlainInput
from clsight.loading.reconstruction import Plan
from clsight.loading.state_dict_groups import Shapes
from clsight.loading.state_dict_settings import Settings


def inferred_words(plan: Plan, taken: PlainInput, settings: Settings, shapes: Shapes) -> dict[str, str]:
    """Return what names, shapes, the user and the file's config told."""
    tower, parts = plan.tower, plan.parts
    count = len(tower.layers)
    words = {
        "layers": f"{count} layer{'s' if count > 1 else ''} (`{tower.name}`)",
        "width": f"width {tower.width}",
        "feedforward": f"feed-forward {tower.feedforward or 'none'}",
        "heads": f"{plan.heads} head{'s' if plan.heads > 1 else ''} {settings.told['heads']}",
    }
    if "norm" in settings.told:
        words["norm"] = f"{plan.norm}-norm {settings.told['norm']}"
    if "activation" in settings.told:
        words["activation"] = f"{plan.activation} {settings.told['activation']}"
    if parts.cls is not None and "cls" not in parts.assumed:
        words["cls"] = f"CLS `{parts.cls}`"
    if (input_words := _input(plan, taken)) and "input" not in parts.assumed:
        words["input"] = input_words
    if parts.position is not None:
        rows = prod(shapes[parts.position]) // tower.width
        words["positions"] = f"{rows} positions (`{parts.position}`)"
    if parts.final_norm is not None:
        words["final norm"] = f"a norm after the last layer (`{parts.final_norm}`)"
    if parts.head is not None:
        words["head"] = f"head `{parts.head}` with {shapes[f'{parts.head}.weight'][0]} classes"
    return words


def assumed_words(
    plan: Plan, taken: PlainInput, settings: Settings, *, cls_index: int | None
) -> dict[str, str]:
    """Return what neither the file nor the user told.

    Args:
        plan: What is computed.
        taken: What the module takes.
        settings: With what was assumed of heads, norms and activation.
        cls_index: What the user stated.
    """
    parts, layers = plan.parts, plan.tower.layers
    words = dict(settings.assumed)
    if not layers[0].norms:
        words = {name: each for name, each in words.items() if name not in ("norm", "epsilon")}
        words["residual"] = "each attention's output is added to the states"
    if not layers[0].feedforward:
        words.pop("activation", None)
    words |= parts.assumed
    if parts.cls is None:
        words["cls"] = (
            f"CLS not found, so position {plan.cls_index} is an ordinary token "
            "(a CLS that is drawn or constant leaves no trace in a file)"
        )
    elif cls_index is None:
        words["cls index"] = "CLS in front"
    if parts.position is None:
        words["positions"] = "no positions (fixed ones leave no trace in a file)"
    if taken.takes == "image":
        words["pixels"] = "pixels from 0 to 1, not normalized"
    elif _input(plan, taken) == "":
        words["input"] = f"tokens of width {plan.tower.width} enter as they are"
    if parts.head is not None:
        words["answer"] = f"the head reads position {plan.cls_index}"
    return words


def _input(plan: Plan, taken: PlainInput) -> str:
    parts = plan.parts
    if parts.convolution is not None:
        return f"patches of {taken.patch[0]}×{taken.patch[1]} pixels (`{parts.convolution}`)"
    if parts.embedding is not None:
        through = f" through `{parts.linear}`" if parts.linear else ""
        return f"{taken.vocabulary} token ids (`{parts.embedding}`{through})"
    if parts.linear is not None:
        return f"{taken.features} features (`{parts.linear}`)"
    return ""
