"""Samplers and loaders: the samples of each step do not depend on workers, restarts or other samples."""

import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.balanced import of_classes

from vexp.core.errors import ConfigError, UserError
from vexp.data.loading.dataloader import (
    SequentialSampler,
    StepPlan,
    TrainSampler,
    WorkerOptions,
    available_workers,
    iterate_batches,
    make_loader,
)
from vexp.data.loading.dataset import ClipDataset
from vexp.data.sources.base import Source
from vexp.data.transforms.crops import RandomResizedCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.resize import Flip, Resize

CPU = torch.device("cpu")


# ---- how an epoch divides into steps ----


@pytest.mark.parametrize(
    ("samples", "batch", "accumulate", "drop_last", "sizes"),
    [
        (8, 4, 1, False, [[4], [4]]),
        (9, 4, 1, False, [[4], [4], [1]]),  # the last step is smaller
        (9, 4, 1, True, [[4], [4]]),
        (8, 4, 1, True, [[4], [4]]),  # a whole last step is not dropped
        (3, 4, 1, False, [[3]]),
        (3, 4, 1, True, []),  # less than one step
        (8, 2, 2, False, [[2, 2], [2, 2]]),
        (9, 2, 2, False, [[2, 2], [2, 2], [1]]),
        (11, 2, 2, False, [[2, 2], [2, 2], [2, 1]]),  # what is left, in batches
        (10, 2, 2, True, [[2, 2], [2, 2]]),  # a whole batch is dropped: the step is not whole
        (5, 2, 4, False, [[2, 2, 1]]),  # fewer batches than one step takes
        (1, 1, 1, False, [[1]]),
    ],
)
def test_step_plan_divides_samples(samples, batch, accumulate, drop_last, sizes):
    plan = StepPlan(samples, batch, accumulate, drop_last)
    assert plan.steps_per_epoch == len(sizes)
    assert plan.samples_per_step == batch * accumulate
    for epoch in range(3):  # every epoch divides alike
        assert [plan.batch_sizes(epoch * len(sizes) + step) for step in range(len(sizes))] == sizes


@given(
    st.integers(1, 40), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.integers(1, 5), st.integers(0, 2**32)
)
@settings(deadline=None, max_examples=60)
def test_train_sampler_parts_of_ranks_form_the_batches(samples, batch, accumulate, drop_last, processes, seed):
    """Of each batch, end to end, its samples in order; who has no part gets one that must not count."""
    plan = StepPlan(samples, batch, accumulate, drop_last, processes)
    alone = StepPlan(samples, batch * processes, accumulate, drop_last)
    assert plan.summary() == alone.summary()
    total = 2 * plan.steps_per_epoch
    whole = list(TrainSampler(alone, seed=seed, shuffle=True, first_step=0, total_steps=total))
    assert list(TrainSampler(plan, seed=seed, shuffle=True, first_step=0, total_steps=total)) == whole
    of_rank = [
        list(TrainSampler(plan, seed=seed, shuffle=True, first_step=0, total_steps=total, rank=rank))
        for rank in range(processes)
    ]
    for keys, *parts in zip(whole, *of_rank, strict=True):
        own = [plan.own(len(keys), rank) for rank in range(processes)]
        assert max(own) - min(own) <= 1
        assert [key for part, n in zip(parts, own, strict=True) for key in part[:n]] == keys
        assert all(
            len(part) == max(n, 1) <= batch and set(part) <= set(keys) for part, n in zip(parts, own, strict=True)
        )


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_sequential_sampler_ranks_share_the_batches(samples, batch, processes):
    """Each sample once, in the same batches whatever the number of processes."""
    whole = list(SequentialSampler(samples, batch))
    parts = [SequentialSampler(samples, batch, rank=rank, world_size=processes) for rank in range(processes)]
    dealt = [list(part) for part in parts]
    assert sorted(keys for part in dealt for keys in part) == whole
    assert {part.rounds for part in parts} == {max(len(part) for part in dealt)}


# ---- the order of training ----


def batches(plan, first_step, total_steps, *, seed=3, shuffle=True):
    return list(TrainSampler(plan, seed=seed, shuffle=shuffle, first_step=first_step, total_steps=total_steps))


plans = st.builds(
    StepPlan,
    num_samples=st.integers(1, 25),
    batch_size=st.integers(1, 6),
    accumulate=st.integers(1, 3),
    drop_last=st.booleans(),
).filter(lambda plan: plan.steps_per_epoch > 0)


@settings(max_examples=60, deadline=None)
@given(plan=plans, shuffle=st.booleans(), steps=st.integers(1, 40), data=st.data())
def test_train_sampler_yields_every_sample_once_per_epoch(plan, shuffle, steps, data):
    straight = batches(plan, 0, steps, shuffle=shuffle)
    sizes = [plan.batch_sizes(step) for step in range(steps)]
    assert [len(batch) for batch in straight] == [size for step in sizes for size in step]

    # Resuming is a slice of the straight order.
    first = data.draw(st.integers(0, steps))
    done = sum(len(step) for step in sizes[:first])
    assert batches(plan, first, steps, shuffle=shuffle) == straight[done:]

    # No step, and so no batch, mixes epochs; an epoch shows no sample twice, and all of them unless it drops or ends.
    by_epoch = {}
    position = 0
    for step, batch_sizes in enumerate(sizes):
        for batch in straight[position : position + len(batch_sizes)]:
            assert {epoch for epoch, _ in batch} == {step // plan.steps_per_epoch}
            by_epoch.setdefault(step // plan.steps_per_epoch, []).extend(index for _, index in batch)
        position += len(batch_sizes)
    for epoch, seen in by_epoch.items():
        assert len(set(seen)) == len(seen)
        if not plan.drop_last and (epoch + 1) * plan.steps_per_epoch <= steps:
            assert sorted(seen) == list(range(plan.num_samples))
        if not shuffle:
            assert seen == list(range(len(seen)))


def test_train_sampler_order_depends_on_seed_and_epoch():
    order = TrainSampler(StepPlan(50, 4, 1, False), seed=3, shuffle=True, first_step=0, total_steps=1)
    other = TrainSampler(StepPlan(50, 4, 1, False), seed=4, shuffle=True, first_step=0, total_steps=1)
    orders = [order.order(0).tolist(), order.order(1).tolist(), other.order(0).tolist()]
    assert len({tuple(o) for o in orders}) == 3
    assert order.order(0).tolist() == orders[0]


def test_train_sampler_order_is_independent_of_first_sample():
    # NumPy pads seeds with zeros: [seed, epoch] and [seed, epoch, index 0] are one generator
    order = TrainSampler(StepPlan(50, 4, 1, False), seed=3, shuffle=True, first_step=0, total_steps=1).order(2)
    assert order.tolist() != np.random.default_rng([3, 2, 0]).permutation(50).tolist()


@pytest.mark.parametrize(
    ("samples", "batch", "indices"),
    [(5, 2, [[0, 1], [2, 3], [4]]), (4, 2, [[0, 1], [2, 3]]), (2, 8, [[0, 1]]), (0, 2, [])],
)
def test_sequential_sampler_yields_every_sample_once_in_order(samples, batch, indices):
    order = SequentialSampler(samples, batch)
    assert list(order) == [[(0, index) for index in batch] for batch in indices]
    assert list(order) == list(order)


# ---- samples ----


class MemoryReader:
    """A video of 12 frames of 20x16 noise; ``width`` may differ."""

    def __init__(self, index, width=20):
        self.num_frames, self.width, self.height = 12, width, 16
        self.noise = np.random.RandomState(index)

    def frames(self, indices):
        video = self.noise.randint(0, 256, (12, self.height, self.width, 3), np.uint8)
        return video[indices]


class MemorySource(Source):
    classes = ("left", "right", "up")

    def __init__(self, fault=None, widths=(20,)):
        self.labels = np.arange(7) % 3
        self.fault, self.widths = fault, widths

    def __len__(self):
        return 7

    def name(self, index):
        return f"video {index}.mp4"

    @contextmanager
    def open(self, index):
        if index == 5 and self.fault is not None:
            raise self.fault
        yield MemoryReader(index, self.widths[index % len(self.widths)])


def random_steps():
    return {
        "sample": SampleFrames(clip_len=4, frame_interval=2, num_clips=2),
        "crop": RandomResizedCrop(),
        "resize": Resize(scale=[8, 8], keep_ratio=False),
        "flip": Flip(),
    }


def loader(source, order, workers, **options):
    dataset = ClipDataset(source, options.pop("steps", random_steps()), seed=1, lazy=True, **options)
    return make_loader(dataset, order, WorkerOptions(num_workers=workers), CPU, persistent=False)


def content(batch):
    return batch.frames.numpy().tobytes(), batch.labels.tolist(), batch.ids.tolist()


workers_warn = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")


@workers_warn
def test_loader_batches_do_not_depend_on_workers():
    plan = StepPlan(7, 3, 1, False)
    made = {}
    for workers in (0, 1, 2):
        order = TrainSampler(plan, seed=2, shuffle=True, first_step=1, total_steps=5)
        made[workers] = [content(batch) for batch in iterate_batches(loader(MemorySource(), order, workers))]
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 4


def test_batch_fields_have_documented_types():
    (batch,) = iterate_batches(loader(MemorySource(), SequentialSampler(7, 8), 0))
    assert batch.frames.shape == (7, 2, 4, 8, 8, 3)  # (N, V, T, H, W, 3)
    assert batch.frames.dtype == torch.uint8
    assert (batch.labels.dtype, batch.labels.tolist()) == (torch.int64, [0, 1, 2, 0, 1, 2, 0])
    assert (batch.ids.dtype, batch.ids.tolist()) == (torch.int64, [0, 1, 2, 3, 4, 5, 6])


def test_dataset_sample_is_function_of_seed_epoch_and_index():
    def sample(seed, epoch, index):
        return ClipDataset(MemorySource(), random_steps(), seed=seed, lazy=True)[epoch, index].frames

    reference = sample(1, 2, 3)
    np.testing.assert_array_equal(reference, sample(1, 2, 3))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
        assert not np.array_equal(reference, sample(*other)), other


@pytest.mark.parametrize(("flip_ratio", "labels"), [(1.0, [1, 0, 2]), (0.0, [0, 1, 2])])
def test_dataset_mirrored_clip_flips_label(flip_ratio, labels):
    steps = {"sample": SampleFrames(clip_len=2), "flip": Flip(flip_ratio=flip_ratio)}
    dataset = ClipDataset(MemorySource(), steps, seed=0, lazy=True, flip_labels=np.array([1, 0, 2]))
    assert [int(dataset[0, index].labels) for index in range(3)] == labels


class SeveralLabels(MemorySource):
    """Samples with one label, two, three or none."""

    def __init__(self):
        MemorySource.__init__(self)
        self.multi_label = True
        self.labels = [np.array(labels, np.int32) for labels in ([0], [0, 2], [], [0, 1, 2], [1], [2], [1, 2])]


def test_dataset_multi_label_targets_are_zeros_and_ones():
    (batch,) = iterate_batches(loader(SeveralLabels(), SequentialSampler(4, 4), 0))
    assert batch.labels.dtype == torch.float32
    assert batch.labels.tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]]


def test_dataset_mirrored_clip_flips_multi_label_targets():
    steps = {"sample": SampleFrames(clip_len=2), "flip": Flip(flip_ratio=1.0)}
    dataset = ClipDataset(SeveralLabels(), steps, seed=0, lazy=True, flip_labels=np.array([1, 0, 2]))
    assert [dataset[0, index].labels.tolist() for index in (0, 1, 3)] == [[0, 1, 0], [0, 1, 1], [1, 1, 1]]


def test_dataset_repeated_sample_uses_other_random_numbers():
    dataset = ClipDataset(MemorySource(), random_steps(), seed=1, lazy=True)
    first, again, third = dataset[2, 3, 0].frames, dataset[2, 3, 1].frames, dataset[2, 3, 2].frames
    assert torch.equal(first, dataset[2, 3].frames)  # the first time is as in an order that repeats none
    assert not torch.equal(first, again)
    assert not torch.equal(again, third)


@workers_warn
def test_balanced_sampler_does_not_depend_on_workers():
    made = {}
    for workers in (0, 2):
        balanced = of_classes(np.arange(7) % 3, 3, seed=2, balance=1.0)
        order = TrainSampler(
            StepPlan(7, 3, 1, False), seed=2, shuffle=True, balanced=balanced, first_step=1, total_steps=5
        )
        made[workers] = [content(batch) for batch in iterate_batches(loader(MemorySource(), order, workers))]
    assert made[0] == made[2]


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
def test_loader_does_not_advance_global_random_state(workers):
    torch.manual_seed(0)
    np.random.seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert len(list(iterate_batches(loader(MemorySource(), SequentialSampler(7, 4), workers)))) == 2
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


# ---- faults ----


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (UserError("truncated"), "video 5.mp4: truncated"),
        (UserError("/data/video 5.mp4: truncated"), "/data/video 5.mp4: truncated"),  # named already
        (ConfigError("the frames are smaller than the crop"), "video 5.mp4: the frames are smaller than the crop"),
        (FileNotFoundError(2, "No such file", "a.npy"), "video 5.mp4: [Errno 2] No such file: 'a.npy'"),
    ],
)
def test_iterate_batches_bad_sample_raises_its_name(workers, fault, message):
    given_batches = iterate_batches(loader(MemorySource(fault), SequentialSampler(7, 3), workers))
    assert next(given_batches).ids.tolist() == [0, 1, 2]  # what came before is delivered
    with pytest.raises(UserError) as caught:
        next(given_batches)
    assert str(caught.value) == message


@workers_warn
@pytest.mark.parametrize("workers", [0, 1])
def test_loader_frames_of_different_sizes_raise(workers):
    source = MemorySource(widths=(20, 24))
    sample_only = {"sample": SampleFrames(clip_len=2)}
    text = r"samples 0 and 1 .* 1 x 2 x 16 x 20 x 3 and 1 x 2 x 16 x 24 x 3"
    with pytest.raises(UserError, match=text):
        list(iterate_batches(loader(source, SequentialSampler(7, 3), workers, steps=sample_only)))
    assert (
        len(list(iterate_batches(loader(source, SequentialSampler(7, 1), workers, steps=sample_only)))) == 7
    )  # one by one


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (4, 4), (8, 8), (64, 8)])
def test_available_workers_is_number_of_cores_up_to_eight(monkeypatch, cores, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert available_workers() == workers
    made = make_loader(
        ClipDataset(MemorySource(), random_steps(), seed=0, lazy=True),
        SequentialSampler(7, 2),
        WorkerOptions(),
        CPU,
        persistent=True,
    )
    assert made.num_workers == workers
