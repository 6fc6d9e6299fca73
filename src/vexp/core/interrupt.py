"""Ctrl-C while a command is being imported, which would end it with a traceback; whether a run has to stop soon."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

EXIT_KEYBOARD_INTERRUPT = 130
MESSAGE = "vexp: interrupted"

#: Whether this process has received a signal to stop after the current step: waits are shortened. It is set by
#: ``vexp.runtime.signals``.
stop_requested = False


def exit_on_interrupt() -> None:
    """End the process at once on Ctrl-C, until ``raise_on_interrupt`` is called.

    An exception is not enough, because packages that are being imported may convert or swallow it.
    """
    is_main = threading.current_thread() is threading.main_thread()  # Python allows handlers in no other thread
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, as Python does by default."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{MESSAGE}\n".encode())
    os._exit(EXIT_KEYBOARD_INTERRUPT)
