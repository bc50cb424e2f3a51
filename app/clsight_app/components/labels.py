"""What a screen reader says of a component that shows no label of its own."""

from typing import Any


def labeled(text: str) -> dict[str, Any]:
    """Return the keyword arguments that give a component this label."""
    return {"aria-label": text}
