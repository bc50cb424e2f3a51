"""Print a comparison of attributions as the docs show it, for the scripts beside this one."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

METRICS = (
    "pointing_game",
    "auprc",
    "deletion_area",
    "insertion_area",
    "comprehensiveness",
    "sufficiency",
    "leave_one_out_tau",
)
OUT = Path(__file__).resolve().parents[1] / "docs" / "tables"


def markdown(table: xr.Dataset, *, by: str) -> str:
    """Return the table as Markdown: means and 95 % intervals, the best by one metric first.

    Args:
        table: What `clsight.faithfulness.compare` returned.
        by: The metric that orders the rows, one of which higher is better.
    """
    columns = [name for name in METRICS if name in table["metric"].values]
    order = pd.Series(table["estimate"].sel(metric=by).values, table["measure"].values)
    lines = [f"| attribution | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for measure in order.sort_values(ascending=False).index:
        cells = [cell(table.sel(measure=measure, metric=name)) for name in columns]
        lines.append(f"| {table['label'].sel(measure=measure).item()} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(one: xr.Dataset) -> str:
    """Return a mean and its interval; a dash where there is none."""
    estimate, low, high = (float(one[name]) for name in ("estimate", "low", "high"))
    if np.isnan(estimate):
        return "–"
    interval = "" if np.isnan(low) else f" ({low:.2f} to {high:.2f})"
    return f"{estimate:.2f}{interval}".replace("-", "−")


def absent(table: xr.Dataset) -> str:
    """Return why attributions have no score, a line each; empty where all have."""
    reasons = table["reason"].where(table["estimate"].isnull(), "").values
    found = dict.fromkeys(
        f"{label}: {reason}"
        for label, row in zip(table["label"].values, reasons, strict=True)
        for reason in row
        if reason
    )
    return "".join(f"\n- {line}" for line in found) + "\n" * bool(found)


def write(name: str, text: str) -> None:
    """Write what the docs include, and print it."""
    (OUT / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
