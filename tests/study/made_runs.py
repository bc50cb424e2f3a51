"""A small study, and functions that make its runs or fail at some, shared by tests of engines and studies."""

import json
import os
import signal
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from clsight.study.planned_runs import PlannedRun
from clsight.study.store import Store
from clsight.study.study_file import Study, study_of
from clsight.study.working import trained

SMALL = """
[study]
name = "small"
seeds = 3
probe_steps = 2

[base]
task = "count"
task_options = { time = 3, train = 64, test = 40 }
width = 8
heads = 2
feedforward = 8
layers = 1
epochs = 2
batch = 16

[tuning]
learning_rate = [0.001, 0.01]
seeds = 1

[[block]]
name = "first"
vary = { strategy = ["learned", "zeros"] }
"""


def small_study(text: str = SMALL) -> Study:
    """Return the study: two arms, four runs that choose learning rates, six that are compared."""
    return study_of(tomllib.loads(text))


def failing_for_zeros(run: PlannedRun) -> dict[str, bytes]:
    """Make a run, unless its [CLS] is zero."""
    if run.settings.strategy == "zeros":
        raise ArithmeticError(f"nothing comes of seed {run.settings.seed}")
    return trained(run)


def dying_for_zeros(run: PlannedRun) -> dict[str, bytes]:
    """Make a run, unless its [CLS] is zero: then the process is killed, as for lack of memory."""
    if run.settings.strategy == "zeros" and run.settings.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return trained(run)


def sleeping(run: PlannedRun) -> dict[str, bytes]:
    """Make nothing of a run, slowly: longer the larger its seed."""
    time.sleep(0.1 * (1 + run.settings.seed))
    return {"run.json": str(run.settings.seed).encode()}


def files_in(store: Store) -> dict[str, bytes]:
    """Return every file of every run but how long it took."""
    runs = store.folder / "runs"
    files = (path for path in runs.rglob("*") if path.is_file() and path.name != "time.json")
    return {path.relative_to(runs).as_posix(): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Marking:
    """Work on Ray that leaves a mark when a run begins, with process and node, and another when it ends."""

    folder: str

    def __call__(self, run: PlannedRun) -> dict[str, bytes]:
        """Make nothing of a run, slowly."""
        import ray

        told = {
            "process": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
            "seed": run.settings.seed,
            "time": time.time(),
        }
        mark = Path(self.folder, f"{os.getpid()}-{run.settings.seed}.begun")
        mark.write_text(json.dumps(told))
        time.sleep(1.5)
        mark.with_suffix(".ended").touch()
        return {"run.json": str(run.settings.seed).encode()}
