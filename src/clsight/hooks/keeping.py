"""What a record may keep beyond row and column, by the names a user gives to `keep=`."""

from collections.abc import Iterable
from typing import Final

from clsight.errors import CaptureError, did_you_mean

KEEP: Final = {
    "vectors": "`query`, `key`, `value` of CLS and `value_norm`; left out by `keep=()` alone",
    "keys_values": "`keys`, `values` of all tokens",
    "hidden": "`hidden`, CLS in the residual stream before the first block and after each",
    "contributions": "`contribution_norm`, how much each token adds to the attention output at CLS",
    "rollout": "`rollout`, the attention of CLS through all layers",
    "received": "`received`, the mean weight each token receives",
    "gradient": "`attends_to_gradient`, how the target changes with each weight of the CLS row",
}
"""Name to what the record then holds."""


def parse_keep(keep: str | Iterable[str]) -> frozenset[str]:
    """Return the names as a set: with "vectors" unless nothing at all is asked for.

    Raises:
        CaptureError: If a name is unknown.
    """
    names = frozenset([keep] if isinstance(keep, str) else keep)
    for name in sorted(names - set(KEEP)):
        raise CaptureError(
            "keep", expected="names of what to keep", got=repr(name), next_step=did_you_mean(name, KEEP)
        )
    return names | {"vectors"} if names else names
