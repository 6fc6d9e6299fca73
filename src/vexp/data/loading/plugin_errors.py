"""Attribution of an exception raised while a sample is loaded: to vexp, or to a transform or data set outside of it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any

#: Libraries that vexp itself calls while it loads a sample; an exception that they raise belongs to their caller.
_LIBRARIES = {"vexp", "numpy", "torch", "av", "cv2", "decord", "torchcodec", "simplejpeg", "turbojpeg", "PIL"}


class PluginError(RuntimeError):
    """Code outside of vexp raised an exception; that exception is the cause, and the message names the code.

    A worker process sends it to the main process as text, together with the traceback of its cause.
    """


def plugin_error(error: Exception, sample: str) -> PluginError | None:
    """Return the error to raise from ``error``, naming the code that raised it; None if that code is vexp's own.

    Args:
        error: An exception caught while ``sample`` was loaded.
        sample: Name of the sample.
    """
    frame = next((frame for frame in _frames(error) if _is_plugin(frame)), None)
    if frame is None:
        return None
    return PluginError(
        f"{_qualified_name(frame)}, which is not part of vexp, failed on {sample}: {type(error).__name__}: {error}"
    )


def raised_within(error: Exception, objects: Iterable[Any]) -> bool:
    """Return whether ``error`` was raised within a method of one of ``objects``."""
    ids = {id(item) for item in objects}
    return any(id(frame.f_locals.get("self")) in ids for frame in _frames(error))


def _frames(error: Exception) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _is_plugin(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package not in _LIBRARIES and package not in sys.stdlib_module_names


def _qualified_name(frame: FrameType) -> str:
    owner = frame.f_locals.get("self")
    function = frame.f_code.co_name
    return f"{frame.f_globals.get('__name__')}.{f'{type(owner).__name__}.' if owner is not None else ''}{function}"
