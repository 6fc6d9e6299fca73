"""A decoder that hangs: named, killed, gone on without where that is wanted."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from support.noise import NoiseSource, content, dataset_of

from vexp.core.errors import UserError
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import SequentialSampler, StepPlan, TrainSampler, iterate_batches, make_loader
from vexp.data.sources.base import ArrayReader

CPU = torch.device("cpu")
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork"),
]


class HangingSource(NoiseSource):
    """Its sample 5 is never made."""

    hanging = True

    @contextmanager
    def open(self, index):
        if index == 5 and self.hanging:
            time.sleep(1000)
        yield ArrayReader(np.random.RandomState(index).randint(0, 256, (10, 16, 20, 3), np.uint8))


def hanging(on_bad):
    dataset = dataset_of([], on_bad)
    dataset.source = HangingSource([])
    return dataset


def watch(dataset, order, workers, path=None, persistent=False):
    loader = make_loader(
        dataset, order, num_workers=workers, device=CPU, persistent=persistent, sample_timeout=0.5
    )  # fmt: skip
    bad = BadSamples(dataset, split="train", max_fraction=1.0, path=path, say=lambda _: None)
    return loader, bad


def order(first_step=0):
    return TrainSampler(StepPlan(9, 2, 1, False), seed=5, shuffle=True, first_step=first_step, total_steps=8)


def test_training_goes_on_with_the_next_sample(tmp_path):
    """The same bytes as where the sample is known to be bad from the start; a later epoch does not wait again."""
    path = tmp_path / "bad_samples.jsonl"
    dataset = hanging("replace")
    loader, bad = watch(dataset, order(), 2, path)
    begin = time.monotonic()
    seen = [content(batch) for batch in iterate_batches(loader, bad)]
    assert time.monotonic() - begin < 30
    known = hanging("replace")
    known.fatal = dict(dataset.fatal)
    loader, bad = watch(known, order(), 0)
    assert seen == [content(batch) for batch in iterate_batches(loader, bad)]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["id"], row["deadly"], row["count"]) for row in rows] == [(5, True, 1), (5, True, 2)]
    assert "video 5.mp4: is not made within data.sample_timeout=0.5 seconds" in rows[0]["error"]
    assert not multiprocessing.active_children()


def test_evaluation_goes_on_without_it_and_its_next_pass_is_whole():
    dataset = hanging("leave_out")
    loader, bad = watch(dataset, SequentialSampler(9, 2), 1, persistent=True)
    for _ in range(2):
        ids = [batch.ids.tolist() for batch in iterate_batches(loader, bad)]
        assert ids == [[0, 1], [2, 3], [4], [6, 7], [8]]
    assert list(bad.unscored(i for batch in ids for i in batch)) == [5]


def test_with_fail_the_run_ends_with_the_name_and_a_ledger(tmp_path):
    path = tmp_path / "bad_samples.jsonl"
    loader, bad = watch(hanging("fail"), SequentialSampler(9, 2), 1, path)
    with pytest.raises(UserError, match=r"^video 5.mp4: is not made within data.sample_timeout=0.5 .*on_error=skip$"):
        list(iterate_batches(loader, bad))
    assert json.loads(path.read_text())["deadly"] is True
    assert not multiprocessing.active_children()


def test_slow_samples_are_waited_for():
    """Each within the limit, a batch of them beyond it."""
    dataset = hanging("fail")
    dataset.source.hanging = False
    plain = dataset.source.open

    @contextmanager
    def slowly(index):
        time.sleep(0.2)
        with plain(index) as reader:
            yield reader

    dataset.source.open = slowly
    loader, bad = watch(dataset, SequentialSampler(9, 9), 1)
    assert [batch.ids.tolist() for batch in iterate_batches(loader, bad)] == [list(range(9))]


def test_without_a_limit_a_loader_waits_for_any_sample():
    """Also one that nobody watches, as a notebook's: torch would end it at the first look."""
    dataset = hanging("fail")
    dataset.source.open = lambda index: time.sleep(1.2) or NoiseSource.open(dataset.source, index)
    loader = make_loader(dataset, SequentialSampler(1, 1), num_workers=1, device=CPU, persistent=False)
    assert [batch.ids.tolist() for batch in loader] == [[0]]


def test_what_a_sample_says_of_time_is_not_taken_for_a_look_at_the_watch():
    """Else its whole batch would be passed over, and nobody told."""
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
    """Sample 5 ends its worker by a signal."""
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


def test_a_decoder_that_crashes_is_gone_on_without(tmp_path):
    path = tmp_path / "bad_samples.jsonl"
    loader, bad = watch(dying(signal.SIGSEGV, "leave_out"), SequentialSampler(9, 2), 2, path)
    assert [batch.ids.tolist() for batch in iterate_batches(loader, bad)] == [[0, 1], [2, 3], [4], [6, 7], [8]]
    assert (
        "the decoder crashes on it, the worker that was at it died of SIGSEGV" in json.loads(path.read_text())["error"]
    )


def test_a_decoder_that_crashes_is_named():
    loader, bad = watch(dying(signal.SIGABRT, "fail"), SequentialSampler(9, 2), 1)
    with pytest.raises(
        UserError, match=r"^video 5.mp4: the decoder crashes on it, .* SIGABRT. Take it out of the list"
    ):
        list(iterate_batches(loader, bad))


def test_the_end_of_a_worker_shows_where_a_batch_is_waited_for_and_nowhere_else():
    """torch raises it from its handler of SIGCHLD, also in the middle of a checkpoint that is being written."""
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
def test_memory_that_is_short_is_no_fault_of_a_sample(on_bad):
    loader, bad = watch(dying(signal.SIGKILL, on_bad), order(), 1)
    with pytest.raises(RuntimeError, match="is killed by signal: Killed"):
        list(iterate_batches(loader, bad))
    assert bad.errors == {}
