"""Stopping well: the first signal asks for a checkpoint after this step, a second Ctrl-C leaves."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

#: Exit status after a signal, with a checkpoint: EX_TEMPFAIL of sysexits.h, "try again later".
EXIT_INTERRUPTED = 75
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class StopRequest:
    """A context in which the signals set ``requested`` to their name; the handlers of before are put back after it.

    Within another one it begins with what that one was asked for.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses handlers
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        outer = next((getattr(handler, "__self__", None) for handler in self._before.values()), None)
        if isinstance(outer, StopRequest):
            self.requested = outer.requested
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = self.requested or signal.Signals(number).name  # the first is what ended the run
