"""Ctrl-C ends a command that is being imported at once, and raises KeyboardInterrupt later."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from vexp.__main__ import main
from vexp.cli import models
from vexp.core.interrupt import exit_on_interrupt, raise_on_interrupt

SCRIPT = """
import importlib, os, signal, vexp.__main__
signal.signal(signal.SIGINT, signal.default_int_handler)
vexp.__main__.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)
vexp.__main__.main(["plan"])
"""


@pytest.fixture(autouse=True)
def _interrupts_raise() -> Iterator[None]:
    """A program that was started in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_the_import_of_a_command_prints_one_line() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "vexp: interrupted\n")


def test_ctrl_c_within_a_command_raises(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(models, "main", lambda _: signal.raise_signal(signal.SIGINT))
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "vexp: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_of_the_program_is_kept() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        exit_on_interrupt()
        raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
