"""The report of a study as files: a page, its numbers as JSON, and a row per run as CSV."""

import os
from pathlib import Path

import pandas as pd

from clsight.errors import StudyError
from clsight.reporting.study_page import study_page
from clsight.study.packing import to_json
from clsight.study.report_values import Findings, as_values, run_rows
from clsight.study.results import results_of
from clsight.study.store import Store


def write_study_report(store: Store, page: str | Path, *, metric: str = "accuracy") -> list[Path]:
    """Write the report of a study as a page, and beside it, with other endings, as JSON and as CSV.

    Each file appears only when it is whole; an older one is replaced.

    Args:
        store: The folder of the study, finished or not.
        page: The page to write, a name that ends in .html.
        metric: What is compared outside the declared comparisons, a name of the outcome.

    Returns:
        The files: page, JSON, CSV.

    Raises:
        StudyError: If it is no study's folder, no compared run is finished, no run has such a metric, or the
            files cannot be written.
    """
    target = Path(page)
    if target.suffix.lower() not in {".html", ".htm"}:
        step = "Give a name such as report.html; the JSON and CSV files are written beside it"
        raise StudyError(
            "--out", expected="a name that ends in .html", got=target.name or "none", next_step=step
        )
    results = results_of(store)
    if not any(arm.runs for arm in results.arms):
        raise StudyError(
            str(store.folder),
            expected="a study with finished runs",
            got=f"none of {sum(len(arm.seeds) for arm in results.arms)}",
            next_step="Run it first: clsight study run FILE --out DIR",
        )
    findings = Findings(results, metric)
    texts = {
        target: study_page(findings).html(),
        target.with_suffix(".json"): to_json(as_values(findings)),
        target.with_suffix(".csv"): pd.DataFrame(run_rows(results)).to_csv(index=False),
    }
    for file, text in texts.items():
        _write_whole(file, text)
    return list(texts)


def _write_whole(file: Path, text: str) -> None:
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        os.replace(new, file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StudyError(
            str(file),
            expected="a file that can be written",
            got=error.strerror or str(error),
            next_step="Give another name with --out",
        ) from error
