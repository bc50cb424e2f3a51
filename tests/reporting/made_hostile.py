"""A real study of a few runs whose every name tries to be markup, with one run that failed."""

from pathlib import Path

from clsight.study.engines import LocalEngine
from clsight.study.planned_runs import PlannedRun
from clsight.study.running import run_study
from clsight.study.store import Store
from clsight.study.working import trained
from study.made_runs import small_study

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\\\"document.title='owned'\\\">"
SHOWN = EVIL.replace("\\", "")
STUDY = f"""
[study]
name = "{EVIL}"
question = "<b>{EVIL}</b>"
seeds = 6
probe_steps = 2

[base]
task = "count"
task_options = {{ time = 3, train = 64, test = 40 }}
width = 8
heads = 2
feedforward = 8
layers = 1
epochs = 2
batch = 16

[strategies."{EVIL}"]
strategy = "zeros"

[[block]]
name = "{EVIL}"
vary = {{ strategy = ["learned", "{EVIL}"], bias = [true, false] }}

[[primary]]
name = "{EVIL}"
block = "{EVIL}"
a = "{EVIL}"
b = "learned"
where = {{ bias = true }}
"""


def failing_once(run: PlannedRun) -> dict[str, bytes]:
    """Make a run, but for one."""
    if run.settings.strategy == "zeros" and not run.settings.bias and run.settings.seed == 1:
        raise ArithmeticError("<b>no</b>")
    return trained(run)


def hostile_study(folder: Path) -> Store:
    """Run the study in a new folder."""
    store = Store(folder)
    run_study(small_study(STUDY), store, LocalEngine(1), work=failing_once, progress=False)
    return store
