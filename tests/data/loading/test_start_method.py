"""The start method of the data loading workers on each system."""

from __future__ import annotations

import multiprocessing
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vexp.data.loading import dataloader


@pytest.mark.parametrize(
    ("platform", "methods", "chosen", "used"),
    [
        ("linux", ["forkserver", "spawn", "fork"], None, "fork"),  # also where forkserver is the default: Python 3.14
        ("darwin", ["spawn", "fork", "forkserver"], None, "spawn"),
        ("win32", ["spawn"], None, "spawn"),
        ("darwin", ["spawn", "fork", "forkserver"], "fork", "fork"),
    ],
)
def test_workers_fork_on_linux_only_unless_asked(
    platform: str, methods: list[str], chosen: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: dict[str, Any] = {}
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: methods)
    monkeypatch.setattr(dataloader, "SampleLoader", lambda *_, **options: passed.update(options) or SimpleNamespace())
    options = dataloader.WorkerOptions(num_workers=1, mp_context=chosen, sample_timeout=1.0)
    dataset: Any = []
    dataloader.make_loader(dataset, [], options, torch.device("cpu"), persistent=False)
    assert passed["multiprocessing_context"] == used
