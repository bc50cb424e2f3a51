"""The words that records, analysis and figures share: dimension names, their order, and token kinds."""

from typing import Final, Literal

SCHEMA_VERSION: Final = 1

DIMS: Final = (
    "strategy",
    "seed",
    "step",
    "sample",
    "layer",
    "head",
    "token",
    "head_dim",
    "depth",
    "channel",
    "class",
)
"""Every dimension a record may have, in the order variables hold them."""

TokenKind = Literal["cls", "register", "distillation", "special", "word", "patch", "step", "pad"]
TOKEN_KINDS: Final[tuple[TokenKind, ...]] = (
    "cls",
    "register",
    "distillation",
    "special",
    "word",
    "patch",
    "step",
    "pad",
)

KEPT_BY: Final[dict[str, str]] = {
    "keys": "keys_values",
    "values": "keys_values",
    "hidden": "hidden",
    "contribution_norm": "contributions",
    "rollout": "rollout",
    "received": "received",
    "attends_to_gradient": "gradient",
}
"""Variables that a record holds on request, and the name that `keep=` asks for them by."""

Direction = Literal["attends_to", "attended_by"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("attends_to", "attended_by")
"""The CLS row and the CLS column of the attention weights."""
