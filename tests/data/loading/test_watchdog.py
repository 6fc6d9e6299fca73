"""Samples that hang or crash a worker are reported, and skipped if on_error=skip."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch
from support.noise import NoiseSource, content, dataset_of

from vexp.core import interrupt
from vexp.core.errors import UserError
from vexp.data.loading import dataloader, watchdog
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import (
    SequentialSampler,
    StepPlan,
    TrainSampler,
    WorkerOptions,
    iterate_batches,
    make_loader,
)
from vexp.data.sources.base import ArrayReader

CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]


@pytest.fixture(autouse=True)
def frequent_polls(monkeypatch):
    monkeypatch.setattr(watchdog, "_POLL_SECONDS", (0.05, 0.1))


def pass_time(seconds):
    """Make the sample that this worker is loading appear to have begun earlier: no test waits for a limit."""
    watchdog._own_cell[watchdog._SINCE] -= seconds


class HangingSource(NoiseSource):
    """Loading its sample 5 never ends."""

    hanging = True

    @contextmanager
    def open(self, index):
        if index == 5 and self.hanging:
            pass_time(1000)
            time.sleep(1000)
        yield ArrayReader(np.random.RandomState(index).randint(0, 256, (10, 16, 20, 3), np.uint8))


def hanging(on_bad):
    dataset = dataset_of([], on_bad)
    dataset.source = HangingSource([])
    return dataset


def watch(dataset, order, workers, path=None, persistent=False, limit=60):
    options = WorkerOptions(num_workers=workers, sample_timeout=limit)
    loader = make_loader(dataset, order, options, CPU, persistent=persistent)
    bad = BadSamples(dataset, split="train", max_fraction=1.0, path=path)
    return loader, bad


def order(first_step=0):
    return TrainSampler(StepPlan(9, 2, 1, False), seed=5, shuffle=True, first_step=first_step, total_steps=8)


def test_hanging_sample_training_replaces_it(tmp_path):
    """The batches equal those of a data set in which the sample is marked as fatal from the start."""
    path = tmp_path / "bad_samples.jsonl"
    dataset = hanging("replace")
    loader, bad = watch(dataset, order(), 2, path)
    begin = time.monotonic()
    seen = [content(batch) for batch in iterate_batches(loader, bad)]
    assert time.monotonic() - begin < 30
    known = hanging("replace")
    for index, message in dataset.fatal.items():
        known.mark_fatal(index, message)
    loader, bad = watch(known, order(), 0)
    assert seen == [content(batch) for batch in iterate_batches(loader, bad)]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["id"], row["deadly"], row["count"]) for row in rows] == [(5, True, 1), (5, True, 2)]
    assert "video 5.mp4: not loaded within data.sample_timeout=60 seconds" in rows[0]["error"]
    assert multiprocessing.active_children() == []


def test_hanging_sample_evaluation_leaves_it_out_in_every_pass():
    dataset = hanging("leave_out")
    loader, bad = watch(dataset, SequentialSampler(9, 2), 1, persistent=True)
    for _ in range(2):
        ids = [batch.ids.tolist() for batch in iterate_batches(loader, bad)]
        assert ids == [[0, 1], [2, 3], [4], [6, 7], [8]]
    assert list(bad.unscored(i for batch in ids for i in batch)) == [5]


def test_hanging_sample_on_error_fail_raises_and_is_recorded(tmp_path):
    path = tmp_path / "bad_samples.jsonl"
    loader, bad = watch(hanging("fail"), SequentialSampler(9, 2), 1, path)
    with pytest.raises(UserError, match=r"^video 5.mp4: .*data.sample_timeout=60 .*on_error=skip$"):
        list(iterate_batches(loader, bad))
    assert json.loads(path.read_text())["deadly"] is True
    assert multiprocessing.active_children() == []


def test_slow_samples_within_timeout_are_loaded():
    """Each sample is within the limit, the batch is not."""
    dataset = hanging("fail")
    dataset.source.hanging = False
    plain = dataset.source.open

    @contextmanager
    def slowly(index):
        pass_time(50)
        time.sleep(0.05)  # a few polls
        with plain(index) as reader:
            yield reader

    dataset.source.open = slowly
    loader, bad = watch(dataset, SequentialSampler(9, 9), 1)
    assert [batch.ids.tolist() for batch in iterate_batches(loader, bad)] == [list(range(9))]


@pytest.mark.integration
def test_loader_without_timeout_waits():
    """Also when it is iterated directly, as in a notebook."""
    dataset = hanging("fail")
    dataset.source.open = lambda index: time.sleep(1.2) or NoiseSource.open(dataset.source, index)
    loader = make_loader(dataset, SequentialSampler(1, 1), WorkerOptions(num_workers=1), CPU, persistent=False)
    assert [batch.ids.tolist() for batch in loader] == [[0]]


def test_sample_error_mentioning_timeout_is_raised():
    """It must not be taken for the timeout of the DataLoader."""
    dataset = hanging("fail")
    dataset.source.hanging = False
    plain = dataset.source.open

    def open_over_a_network(index):
        if index == 5:
            raise RuntimeError("the server timed out")
        return plain(index)

    dataset.source.open = open_over_a_network
    loader, bad = watch(dataset, SequentialSampler(9, 2), 1)
    with pytest.raises(RuntimeError, match="the server timed out"):
        list(iterate_batches(loader, bad))


def dying(number, on_bad, may_die=lambda: None):
    """Loading sample 5 kills its worker with a signal."""
    dataset = hanging(on_bad)
    dataset.source.hanging = False
    plain = dataset.source.open

    @contextmanager
    def crash(index):
        if index == 5:
            may_die()
            os.kill(os.getpid(), number)
        with plain(index) as reader:
            yield reader

    dataset.source.open = crash
    return dataset


def test_crashing_sample_evaluation_leaves_it_out(tmp_path):
    path = tmp_path / "bad_samples.jsonl"
    loader, bad = watch(dying(signal.SIGSEGV, "leave_out"), SequentialSampler(9, 2), 2, path)
    assert [batch.ids.tolist() for batch in iterate_batches(loader, bad)] == [[0, 1], [2, 3], [4], [6, 7], [8]]
    assert "died of SIGSEGV" in json.loads(path.read_text())["error"]


def test_crashing_sample_on_error_fail_raises_its_name():
    loader, bad = watch(dying(signal.SIGABRT, "fail"), SequentialSampler(9, 2), 1)
    with pytest.raises(UserError, match=r"^video 5.mp4: .* died of SIGABRT"):
        list(iterate_batches(loader, bad))


def test_worker_exit_raises_only_while_waiting_for_a_batch():
    """In torch, a SIGCHLD handler raises, possibly while a checkpoint is written."""
    has_a_batch = multiprocessing.get_context("fork").Event()
    loader, bad = watch(dying(signal.SIGKILL, "fail", has_a_batch.wait), SequentialSampler(9, 3), 1)
    batches = iterate_batches(loader, bad)
    next(batches)
    has_a_batch.set()
    until = time.monotonic() + 10
    while any(process.is_alive() for process in multiprocessing.active_children()) and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(RuntimeError, match="is killed by signal: Killed"):
        list(batches)


@pytest.mark.parametrize("on_bad", ["fail", "replace"])
def test_worker_killed_by_oom_is_not_a_bad_sample(on_bad):
    loader, bad = watch(dying(signal.SIGKILL, on_bad), order(), 1)
    with pytest.raises(RuntimeError, match="is killed by signal: Killed"):
        list(iterate_batches(loader, bad))
    assert bad.errors == {}


def stop_idle_workers(count):
    """Send SIGSTOP to all workers once they have loaded what they have been asked for."""
    workers = multiprocessing.active_children()
    assert len(workers) == count
    time.sleep(0.5)
    for process in workers:
        os.kill(process.pid, signal.SIGSTOP)


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr(watchdog, "_MIN_PATIENCE", 1.5)


@pytest.mark.integration
@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_workers_are_replaced(patience, caplog, workers):
    """A stopped worker answers neither requests for a batch nor the handshake in which its memory is received."""
    loader, bad = watch(dataset_of([], "fail"), order(), 0)
    expected = [content(batch) for batch in iterate_batches(loader, bad)]
    loader, bad = watch(dataset_of([], "fail"), order(), workers, limit=1.5)
    batches = iterate_batches(loader, bad)
    seen = [content(next(batches))]
    stop_idle_workers(workers)
    seen += [content(batch) for batch in batches]
    assert seen == expected
    assert "no data worker has answered for 1.5 seconds" in caplog.text
    assert bad.errors == {}
    assert multiprocessing.active_children() == []


@pytest.mark.integration
def test_stopped_persistent_workers_are_replaced_in_next_pass(patience):
    loader, bad = watch(dataset_of([], "fail"), SequentialSampler(9, 2), 1, persistent=True, limit=1.5)
    first = [content(batch) for batch in iterate_batches(loader, bad)]
    stop_idle_workers(1)
    assert [content(batch) for batch in iterate_batches(loader, bad)] == first


@pytest.mark.integration
@pytest.mark.parametrize("sample_timeout", [300, None])
def test_stopped_worker_delays_requested_stop_for_patience_only(patience, monkeypatch, sample_timeout):
    """The scheduler that has sent SIGTERM does not wait for ``data.sample_timeout``."""
    options = WorkerOptions(num_workers=1, sample_timeout=sample_timeout)
    loader = make_loader(dataset_of([], "fail"), order(), options, CPU, persistent=False)
    batches = iterate_batches(loader)
    seen = [content(next(batches))]
    stop_idle_workers(1)
    monkeypatch.setattr(interrupt, "stop_requested", True)
    seen += [content(batch) for batch in batches]
    loader, bad = watch(dataset_of([], "fail"), order(), 0)
    assert seen == [content(batch) for batch in iterate_batches(loader, bad)]


@pytest.mark.integration
def test_sample_of_stopped_worker_is_not_blamed(patience):
    """The sample that a worker was loading when it was stopped is loaded by a new one."""
    is_first = multiprocessing.get_context("fork").Value("i", 1)

    def may_die():
        with is_first.get_lock():
            stops, is_first.value = is_first.value, 0
        if stops:
            os.kill(os.getpid(), signal.SIGSTOP)

    dataset = dying(signal.SIGCONT, "fail", may_die)  # which a running process ignores
    loader, bad = watch(dataset, SequentialSampler(9, 2), 2, limit=1.5)
    ids = [batch.ids.tolist() for batch in iterate_batches(loader, bad)]
    assert ids == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
    assert not is_first.value


@pytest.mark.integration
def test_workers_that_stop_again_raise(patience, monkeypatch):
    attach = watchdog.WorkerMonitor.attach

    def stop(monitor, worker):
        attach(monitor, worker)
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(watchdog.WorkerMonitor, "attach", stop)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    loader, bad = watch(dataset_of([], "fail"), order(), 1, limit=1.5)
    with pytest.raises(UserError, match=r"new workers did not answer either\. Set data\.num_workers=0"):
        next(iterate_batches(loader, bad))
    assert multiprocessing.active_children() == []


@pytest.mark.integration
def test_stopped_worker_does_not_keep_the_process(monkeypatch):
    """At exit, multiprocessing waits for all workers and sends SIGTERM only."""
    monkeypatch.setattr(dataloader, "_EXIT_SECONDS", 0.2)
    loader, bad = watch(dataset_of([], "fail"), SequentialSampler(9, 2), 1, persistent=True)
    list(iterate_batches(loader, bad))
    stop_idle_workers(1)
    dataloader._stop_workers()
    (worker,) = multiprocessing.active_children()
    worker.join(10)
    assert not worker.is_alive()


def test_silence_of_starting_worker_is_no_hang():
    """A spawned worker imports torch, which may take longer than the limit of one sample."""
    monitor = watchdog.WorkerMonitor(2, 0.5)
    begin = time.monotonic()
    assert not monitor.is_silent(begin - 100)
    monitor._cells[:, watchdog._PID] = os.getpid()  # both have started, and load nothing
    assert monitor.is_silent(begin - 100)
    assert not monitor.is_silent(begin + 100)


@pytest.mark.slow
def test_fifty_forks_of_workers_beside_busy_threads():
    """Threads hold locks of logging, of the allocator and of OpenMP in turn when the workers are forked."""
    end, logger = threading.Event(), logging.getLogger("vexp.busy")
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    logger.propagate = False
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)

    def work(step):
        while not end.is_set():
            step()

    steps = (
        lambda: logger.warning("busy"),
        lambda: torch.ones(64, 64) @ torch.ones(64, 64),
        lambda: cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA),
    )
    threads = [threading.Thread(target=work, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            dataset = dataset_of([], "fail")
            options = WorkerOptions(num_workers=2, sample_timeout=60, mp_context="fork")
            loader = make_loader(dataset, order(), options, CPU, persistent=False)
            bad = BadSamples(dataset, split="train", max_fraction=1.0)
            assert len(list(iterate_batches(loader, bad))) == 8
            assert not bad.errors
    finally:
        end.set()
        for thread in threads:
            thread.join()
