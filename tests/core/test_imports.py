"""Garbage collection while a command is imported."""

from __future__ import annotations

import gc
import sys

import pytest

from vexp.core.imports import importing


def test_collection_is_paused_and_the_imported_objects_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[None] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(None))
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert not frozen  # nothing has been imported
    with importing():
        monkeypatch.setitem(sys.modules, "imported_in_test", sys)
    assert len(frozen) == 1
