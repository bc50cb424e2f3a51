"""Is the map true, and does it mean what it says? `clsight.diagnose` asks a model before anyone believes it.

Each check is a function in `clsight.doctor.checks`, found on import: the decorator `registry.check` lists it
in `CHECKS` with what it asks and what it can find. It gets an `Examination`, which holds what several checks
need, so that all of them together cost a handful of forward passes.
"""

from importlib import import_module
from pkgutil import iter_modules

from clsight.doctor import checks
from clsight.doctor.diagnosis import diagnose
from clsight.doctor.findings import SEVERITIES, Finding, Findings
from clsight.doctor.registry import CHECKS, Check, check

__all__ = ["CHECKS", "SEVERITIES", "Check", "Finding", "Findings", "check", "diagnose"]

# In this order they are made and told; further files of checks come after them.
_FIRST = ("forward_pass", "cls_entry", "cls_input", "masking", "modes", "weights", "depth", "attention")
_topics = dict.fromkeys((*_FIRST, "states", *(module.name for module in iter_modules(checks.__path__))))
for _topic in _topics:
    import_module(f"{checks.__name__}.{_topic}")
