"""What a case of the doctor is: an ill model, what must be told of it, and a healthy twin."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

import clsight
from doctor import patients
from doctor.patients import series


@dataclass(frozen=True)
class Case:
    """A model that must trigger one finding.

    Attributes:
        check: Name of the check.
        severity: What it must find.
        told: Part of the sentence, with its number.
        ill: Makes the model.
        twin: Makes the healthy model; by default `patients.healthy`.
        options: Further arguments of `diagnose`.
    """

    check: str
    severity: str
    told: str
    ill: Callable[[], Any]
    twin: Callable[[], Any] = patients.healthy
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self):
        return f"{self.check}-{self.severity}-{self.told[:24]}"


def diagnosed(model, **options):
    """Return the findings about a module on the series, about a subject on its own examples."""
    if isinstance(model, torch.nn.Module):
        return clsight.diagnose(model, options.pop("inputs", series()), **options)
    return clsight.diagnose(model, **options)
