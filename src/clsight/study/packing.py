"""The result of a run as files: made by the worker, they travel as bytes, and one process writes them."""

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clsight.study.planned_runs import PlannedRun
from clsight.study.training import RunResult

RUN_FILE: Final = "run.json"
"""What was asked and what came out: the same bytes for the same run."""
TIME_FILE: Final = "time.json"
"""How long it took, which differs."""
HISTORY_FILE: Final = "history.csv"
RECORD_FILE: Final = "record.zarr.zip"


def packed(run: PlannedRun, result: RunResult) -> dict[str, bytes]:
    """Return the files of a result by their path inside the folder of the run, which `clsight.load` opens.

    All but `time.json` are the same bytes whenever the numbers are the same. A run that chooses a learning
    rate leaves no model behind.

    Args:
        run: What was asked.
        result: What came out.
    """
    from clsight.records import save_record
    from clsight.saving import write_model

    told = {**run.to_dict(), "diverged": result.diverged, "outcome": result.outcome}
    with tempfile.TemporaryDirectory(prefix="clsight-run-") as work:
        folder = Path(work)
        if run.evaluate == "test":
            write_model(result.model, folder)
        if result.record is not None:
            save_record(result.record, folder / RECORD_FILE)
        (folder / HISTORY_FILE).write_text(result.history.to_csv(index=False), encoding="utf-8")
        (folder / RUN_FILE).write_text(to_json(told), encoding="utf-8")
        (folder / TIME_FILE).write_text(to_json({"seconds": result.seconds}), encoding="utf-8")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def to_json(values: Any) -> str:
    """Return plain values as JSON; numbers that JSON does not have become the text `nan`, `inf` or `-inf`."""
    return json.dumps(_without_infinite(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _without_infinite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(name): _without_infinite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_without_infinite(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return str(values)
    return values
