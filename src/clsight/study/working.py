"""What a worker does: one planned run in, the files of its result out."""

from clsight.study.packing import packed
from clsight.study.planned_runs import PlannedRun


def trained(run: PlannedRun) -> dict[str, bytes]:
    """Train and measure the model of a run, with one torch thread, and return the files of its result.

    Args:
        run: What is asked for.

    Raises:
        StudyError: If there is no such task, it may not run, or its data cannot be trained on.
    """
    import torch

    from clsight.study.tasks import task_named
    from clsight.study.training import train

    torch.set_num_threads(1)  # with more, additions may come in another order
    task = task_named(run.settings.task, run.settings.task_options, allow=run.allow_task)
    result = train(run.settings, task, evaluate=run.evaluate, probe_steps=run.probe_steps)
    return packed(run, result)
