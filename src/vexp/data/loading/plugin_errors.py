"""Attribution of an exception raised while a sample is loaded: to vexp, or to a transform or data set outside of it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any

#: Libraries that vexp itself calls while it loads a sample; an exception that they raise belongs to their caller.
_LIBRARIES = {"vexp", "numpy", "torch", "av", "cv2", "decord", "torchcodec", "simplejpeg", "turbojpeg", "PIL"}

#: Module, function and line number of a frame of a traceback.
Location = tuple[str, str, int]


class PluginError(RuntimeError):
    """Code outside of vexp raised an exception; that exception is the cause, and the message names the code.

    A worker process sends it to the main process together with ``locations``, the frames of its cause from the
    outermost to the innermost, and with the traceback as text, which takes the place of the cause.
    """

    def __init__(self, message: str, locations: Iterable[Location] = ()) -> None:
        super().__init__(message)
        self.locations = list(locations)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (str(self), self.locations, "".join(traceback.format_exception(self)))


class _WorkerTracebackError(Exception):
    """The traceback of an exception in a worker process, as text."""


def _rebuild(message: str, locations: list[Location], text: str) -> PluginError:
    error = PluginError(message, locations)
    error.__cause__ = _WorkerTracebackError(f"\n{text}")
    return error


def plugin_error(error: Exception, sample: str) -> PluginError | None:
    """Return the error to raise from ``error``, naming the code that raised it; None if that code is vexp's own.

    ``error`` was caught while the sample with the name ``sample`` was loaded.
    """
    frame = next((frame for frame, _ in traceback.walk_tb(error.__traceback__) if _is_plugin(frame)), None)
    if frame is None:
        return None
    name = f"{frame.f_globals.get('__name__')}.{_qualified_name(frame)}"
    return PluginError(
        f"{name}, which is not part of vexp, failed on {sample}: {type(error).__name__}: {error}", locations(error)
    )


def locations(error: BaseException) -> list[Location]:
    """Return the frames of the traceback of ``error``, outermost first."""
    if isinstance(error, PluginError):
        return error.locations
    return [
        (str(frame.f_globals.get("__name__", "")), frame.f_code.co_name, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]


def raised_within(error: Exception, objects: Iterable[Any]) -> bool:
    """Return whether ``error`` was raised within a method of one of ``objects``."""
    ids = {id(item) for item in objects}
    return any(id(frame.f_locals.get("self")) in ids for frame, _ in traceback.walk_tb(error.__traceback__))


def _is_plugin(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package not in _LIBRARIES and package not in sys.stdlib_module_names


def _qualified_name(frame: FrameType) -> str:
    owner = frame.f_locals.get("self")
    return frame.f_code.co_name if owner is None else f"{type(owner).__name__}.{frame.f_code.co_name}"
