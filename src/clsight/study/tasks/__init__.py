"""What models of a study learn. `TASKS` lists the tasks; one file each."""

from clsight.study.tasks.counting import count as count
from clsight.study.tasks.digits import digits as digits
from clsight.study.tasks.find_digit import find_digit as find_digit
from clsight.study.tasks.naming import task_named
from clsight.study.tasks.retrieval import retrieval as retrieval
from clsight.study.tasks.sentences import sentences as sentences
from clsight.study.tasks.speakers import speakers as speakers
from clsight.study.tasks.task import TASKS, Data, Part, Task, task

__all__ = ["TASKS", "Data", "Part", "Task", "task", "task_named"]
