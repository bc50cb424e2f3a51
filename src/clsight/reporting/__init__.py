"""Reports: what a study found as one self-contained HTML page, with its numbers beside it as JSON and CSV."""

from clsight.reporting.study_files import write_study_report

__all__ = ["write_study_report"]
