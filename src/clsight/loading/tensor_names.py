"""What the names that users give to tensors say."""


def is_cls_name(name: str) -> bool:
    """Tell whether a tensor that is no weight or bias of a module is called after [CLS]."""
    last = name.lower().rpartition(".")[2]
    return last not in {"weight", "bias"} and ("cls" in last or "class" in last)


def is_position_name(name: str) -> bool:
    """Tell whether a tensor is called after positions: `pos` in its name, or `pe` as a part of it."""
    lower = name.lower()
    return "pos" in lower or "pe" in lower.split(".")
