"""The laboratory: does the way [CLS] begins matter? Models trained alike but for that, and compared."""

from clsight.study.run_settings import RunSettings

__all__ = ["RunSettings"]
