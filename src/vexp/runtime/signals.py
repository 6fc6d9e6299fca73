"""Stopping well: the first signal asks for a checkpoint after this step, a second Ctrl-C leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vexp.data.batch.batch import Batch
    from vexp.runtime.distributed import World

#: Exit status after a signal, with a checkpoint: EX_TEMPFAIL of sysexits.h, "try again later".
EXIT_INTERRUPTED = 75
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Interrupted(Exception):  # noqa: N818  # not an error
    """A signal ended what was under way; the state is as it was before."""


class SignalHandler:
    """A context in which the signals are noted; the handlers of before are put back after it.

    ``noted`` is the first signal that this process was sent; within another context it begins with that one's.
    ``requested`` is the signal that a run ends for. It changes in ``check`` alone, where all processes of the run
    decide together: they stop at the same moment, whichever of them was told.
    """

    def __init__(self, processes: World | None = None) -> None:
        """``processes``: of the run; None: this one."""
        self.requested: str | None = None
        self._processes = processes
        self._number = 0  # of the signal noted
        self._before: dict[int, Any] = {}

    @property
    def noted(self) -> str | None:
        return signal.Signals(self._number).name if self._number else None

    def check(self) -> bool:
        """Whether any process has been told to stop. All must ask alike."""
        number = self._number if self._processes is None else self._processes.largest(self._number)[0]
        if number and self.requested is None:
            self.requested = signal.Signals(number).name
        return self.requested is not None

    def between(self, batches: Iterator[Batch], rounds: int) -> Iterator[Batch]:
        """``batches``; before each of ``rounds``, as many as the process with the most batches has, all ``check``.

        Raises:
            Stopped: they are to stop.
        """
        for _ in range(rounds):
            if self.check():
                raise Interrupted
            batch = next(batches, None)
            if batch is not None:  # this process has one less, or none of its samples can be read
                yield batch

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python refuses handlers
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        outer = next((getattr(handler, "__self__", None) for handler in self._before.values()), None)
        if isinstance(outer, SignalHandler):
            self._number = outer._number
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = self._number or number  # the first is what ended the run
