"""What a run predicts for a sample. A data option names its task; only the task depends on what is predicted."""

from __future__ import annotations

from vexp.data.sources.config import Data
from vexp.task.base import Task


def task_class(data: Data) -> type[Task]:
    """Return the task of a data option, ``Data.task``: a built-in one by its name, or the class of a plugin."""
    from vexp.task.detection import Detection
    from vexp.task.recognition import Recognition

    built_in = {task.name: task for task in (Recognition, Detection)}
    task: type[Task] = built_in.get(data.task, data.task)
    return task
