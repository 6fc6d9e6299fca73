"""Limits of the system that stop data workers are reported in one sentence, and no worker is left behind."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import sys
from multiprocessing.synchronize import SemLock
from pathlib import Path

import pytest
import torch
from support.noise import dataset_of

from vexp.core.errors import UserError
from vexp.data.loading import system_limits
from vexp.data.loading.dataloader import SequentialSampler, WorkerOptions, iterate_batches, make_loader
from vexp.data.loading.system_limits import limits_explained

resource = pytest.importorskip("resource")
CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files cannot be counted"),
]


def batches(workers=2):
    options = WorkerOptions(num_workers=workers, sample_timeout=20)
    return iterate_batches(make_loader(dataset_of([], "fail"), SequentialSampler(9, 1), options, CPU, persistent=False))


@pytest.fixture
def unraisable(monkeypatch):
    """Errors of destructors."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    return seen


@pytest.mark.parametrize("more", [0, 3, 6, 9])
def test_too_few_open_files_names_the_limit(unraisable, more):
    """The limit is reached by the main process or by a worker, at the start or while batches are sent."""
    list(batches())  # what is imported at the first start
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/proc/self/fd")) + more
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with pytest.raises(UserError, match=rf"too many open files .* may open {limit} \(ulimit -n\); raise"):
            list(batches())
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert unraisable == []
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("allowed", [0, 1, 5, 8])
def test_full_shared_memory_at_start_names_it(unraisable, monkeypatch, allowed):
    """Queues and events of workers are semaphores in /dev/shm."""
    create, calls = SemLock.__init__, []

    def fail(*arguments, **options):
        calls.append(arguments)
        if len(calls) > allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        create(*arguments, **options)

    monkeypatch.setattr(SemLock, "__init__", fail)
    with pytest.raises(UserError, match=r"^/dev/shm is too small to start the data workers .* data\.num_workers=0"):
        list(batches())
    gc.collect()
    assert unraisable == []
    assert multiprocessing.active_children() == []


def test_other_errors_are_not_changed(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "metrics.jsonl"))
    for error in (full, RuntimeError("of a model")):
        with pytest.raises(type(error)) as caught, limits_explained():
            raise error
        assert caught.value is error


def test_worker_prints_other_errors_of_its_threads(monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "excepthook", lambda *arguments: printed.append(arguments[1]))
    system_limits.exit_without_files()
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    sys.excepthook(OSError, error, None)
    assert printed == [error]
