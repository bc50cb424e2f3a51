"""What can be told of tokens where nobody said what each is: ids that the model's config calls special."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from torch import Tensor, nn

from clsight.faithfulness.attributed import Kinds, Text
from clsight.hooks.watching import original_of

_NUMBERED: Final = {"cls", "step", "pad"}
"""The kinds that are told by positions and masks alone."""
_SPECIAL_IDS: Final = ("cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id")
_PASS_KINDS: Final = "pass token_kind= if some are special tokens or registers"


def are_numbered(kinds: Kinds) -> bool:
    """Tell whether kinds say no more than where CLS and padding stand."""
    return set(np.unique(kinds).tolist()) <= _NUMBERED


def with_special_ids(
    kinds: Kinds, module: nn.Module, arguments: Mapping[str, Any] | None
) -> tuple[Kinds, str]:
    """Return kinds with `special` where the config of the model says so, and a note on what is not known.

    Args:
        kinds: `[sample, token]`, told by positions and masks alone.
        module: What is called; a model of transformers holds a `config`.
        arguments: What it is called with, by name.
    """
    config = getattr(original_of(module), "config", None)
    stated = [getattr(config, name, None) for name in _SPECIAL_IDS]
    special = sorted({one for one in stated if isinstance(one, int) and not isinstance(one, bool)})
    ids = (arguments or {}).get("input_ids")
    is_known = bool(special) and isinstance(ids, Tensor) and ids.shape == kinds.shape
    if not is_known or ids is None or ids.is_floating_point():
        return kinds, f"Kinds of tokens are not known: all but CLS and padding were removed; {_PASS_KINDS}"
    found = np.isin(ids.cpu().numpy(), special) & (kinds == np.array("step", dtype=Text))
    return (
        np.where(found, np.array("special", dtype=Text), kinds),
        f"Kinds of tokens are not known but for the ids {', '.join(map(str, special))} that the model's "
        f"config calls special: all others but CLS and padding were removed; {_PASS_KINDS}",
    )
