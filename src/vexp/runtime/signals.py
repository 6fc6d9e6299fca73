"""Graceful stop: the first signal requests a checkpoint after the current step, a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from vexp.core import interrupt

if TYPE_CHECKING:
    from vexp.runtime.distributed import World

#: Exit status after a signal, with a checkpoint: EX_TEMPFAIL of sysexits.h, "try again later".
EXIT_INTERRUPTED = 75
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]

T = TypeVar("T")


class Interrupted(Exception):  # noqa: N818  # not an error
    """A signal ended the current operation; the state is unchanged."""


class SignalHandler:
    """Record signals within the context; the previous handlers are restored after it.

    Attributes:
        requested: Name of the signal that ends the run; None while there is none. Only ``check`` changes it, in all
            processes of the run at once, so that they stop at the same step whichever of them received the signal.
    """

    #: The handler of the innermost context; signals that an outer one has received count for the inner one.
    _innermost: ClassVar[SignalHandler | None] = None

    def __init__(self, world: World | None = None) -> None:
        self.requested: str | None = None
        self._world = world
        self._number = 0  # of the first signal received
        self._previous: dict[int, Any] = {}
        self._outer: SignalHandler | None = None

    @property
    def received(self) -> str | None:
        """Name of the first signal that this process has received."""
        return signal.Signals(self._number).name if self._number else None

    def check(self) -> bool:
        """Return whether any process of the run has received a signal. All processes must call this together."""
        number = self._number if self._world is None else self._world.all_reduce_max(self._number)
        if number and self.requested is None:
            self.requested = signal.Signals(number).name
        return self.requested is not None

    def between(self, items: Iterator[T], rounds: int) -> Iterator[T]:
        """Yield the items; ``check`` before each of ``rounds``, the item count of the process that has the most.

        Raises:
            Interrupted: If a process has received a signal.
        """
        for _ in range(rounds):
            if self.check():
                raise Interrupted
            item = next(items, None)
            if item is not None:  # this process may have one item less
                yield item

    def __enter__(self) -> SignalHandler:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers in no other thread
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
            self._outer, SignalHandler._innermost = SignalHandler._innermost, self
            if self._outer is not None:
                self._number = self._outer._number
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous:
            SignalHandler._innermost = self._outer
            interrupt.stop_requested = self._outer is not None and self._outer._number != 0
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._number = self._number or number  # the first signal is the reason for the stop
        interrupt.stop_requested = True
