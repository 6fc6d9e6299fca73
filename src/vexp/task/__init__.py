"""What a run predicts for a sample. A data option names its task; only the task depends on what is predicted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vexp.data.sources.config import Data

if TYPE_CHECKING:
    from vexp.task.base import Task

#: Name of a task, and of its module -> its class.
_BUILT_IN = {"recognition": "Recognition", "localization": "Localization", "detection": "Detection"}


def task_class(data: Data) -> type[Task]:
    """Return the task of a data option, ``Data.task``: a built-in one by its name, or the class of a plugin."""
    name = data.task
    task: type[Task] = getattr(import_module(f"vexp.task.{name}"), _BUILT_IN[name]) if name in _BUILT_IN else name
    return task
