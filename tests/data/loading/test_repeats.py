"""Repeated augmentation: the samples of a video, for any number of workers and processes and after a restart."""

import numpy as np
import pytest
import torch
from support.balanced import of_classes
from support.noise import NoiseSource

from vexp.core.errors import UserError
from vexp.data.batch.mixup import Blending
from vexp.data.loading.bad_samples import BadSamples
from vexp.data.loading.dataloader import TrainSampler, WorkerOptions, iterate_batches, make_loader
from vexp.data.loading.dataset import ClipDataset
from vexp.data.loading.step_plan import StepPlan
from vexp.data.transforms.crops import RandomResizedCrop
from vexp.data.transforms.frame_sampling import SampleFrames
from vexp.data.transforms.rand_augment import RandAugment
from vexp.data.transforms.random_erasing import RandomErasing
from vexp.data.transforms.resize import Flip, Resize

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")
VIDEOS = 9
STEPS = {
    "sample": SampleFrames(clip_len=3),
    "augment": RandAugment(),
    "crop": RandomResizedCrop(),
    "resize": Resize(scale=[8, 8], keep_ratio=False),
    "flip": Flip(),
    "erase": RandomErasing(probability=0.5),
}


def dataset_of(repeats=2, bad=(), on_bad="fail"):
    return ClipDataset(NoiseSource(bad, VIDEOS), STEPS, seed=1, lazy=True, on_bad=on_bad, repeats=repeats)


def batches(workers=0, *, first_step=0, dataset=None, plan=None, rank=None, balance=None, bad=None):
    """All batches of two epochs, or of one process."""
    dataset, plan = dataset or dataset_of(), plan or StepPlan(VIDEOS, 4, 1, False)
    balanced = None if balance is None else of_classes(dataset.source.labels, 2, seed=3, balance=balance)
    order = TrainSampler(
        plan, seed=3, shuffle=True, balanced=balanced, rank=rank,
        first_step=first_step, total_steps=2 * plan.steps_per_epoch,
    )  # fmt: skip
    options = WorkerOptions(num_workers=workers)
    loader = make_loader(dataset, order, options, torch.device("cpu"), persistent=False)
    return list(iterate_batches(loader, bad))


def samples(batch):
    """The samples of a batch: (id, frames, label)."""
    return [
        (int(index), frames.numpy().tobytes(), int(label))
        for index, frames, label in zip(batch.ids, batch.frames, batch.labels, strict=True)
    ]


@pytest.fixture(scope="module")
def straight():
    return [samples(batch) for batch in batches()]


def test_repeats_are_samples_of_every_video_one_after_the_other(straight):
    assert [len(batch) for batch in straight] == [8, 8, 2] * 2
    for batch in straight:
        ids = [index for index, _, _ in batch]
        assert ids[: len(ids) // 2] == ids[len(ids) // 2 :]
        assert len(set(ids)) == len(ids) // 2
        assert len({frames for _, frames, _ in batch}) == len(batch)  # independent draws
    single = [samples(batch) for batch in batches(dataset=dataset_of(repeats=1))]
    assert [batch[: len(batch) // 2] for batch in straight] == single  # the first one is that without repeats


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_repeats_do_not_depend_on_workers(straight, workers):
    assert [samples(batch) for batch in batches(workers)] == straight


@pytest.mark.parametrize("first_step", [1, 4])
def test_repeats_after_a_restart_are_those_of_the_straight_run(straight, first_step):
    assert [samples(batch) for batch in batches(2, first_step=first_step)] == straight[first_step:]


def test_repeats_of_two_processes_are_those_of_one(straight):
    plan = StepPlan(VIDEOS, 2, 1, False, world_size=2)
    parts = [[samples(batch) for batch in batches(plan=plan, rank=rank)] for rank in (0, 1)]
    for step, whole in enumerate(straight):
        videos = len(whole) // 2
        if videos == 1:  # the second process repeats the sample, which does not count
            assert parts[0][step] == parts[1][step] == whole
            continue
        assert sorted(parts[0][step] + parts[1][step]) == sorted(whole)


def test_repeats_of_balanced_epoch_are_all_different():
    made = [samples(batch) for batch in batches(balance=1.0)]
    assert [samples(batch) for batch in batches(2, balance=1.0)] == made
    epoch = [frames for batch in made[:3] for _, frames, _ in batch]
    assert len(set(epoch)) == 2 * VIDEOS


def test_bad_video_is_replaced_by_repeats_of_another_one():
    dataset = dataset_of(bad=[5], on_bad="replace")
    bad = BadSamples(dataset, split="train", max_fraction=0.5)
    made = [samples(batch) for batch in batches(dataset=dataset, bad=bad)]
    assert sum(map(len, made)) == 2 * 2 * VIDEOS
    ids = [index for batch in made for index, _, _ in batch]
    assert 5 not in ids
    assert all(ids.count(index) % 2 == 0 for index in set(ids))
    assert list(bad.errors) == [5]
    assert [samples(batch) for batch in batches(2, dataset=dataset, bad=bad)] == made
    with pytest.raises(UserError, match="truncated"):
        batches(dataset=dataset_of(bad=[5]))


def test_mixup_mixes_samples_of_different_videos():
    torch.manual_seed(0)
    batch = batches()[0]
    ids = torch.nn.functional.one_hot(batch.ids, VIDEOS).float()
    _, targets = Blending(mixup_alpha=1.0).apply(batch.frames[:, 0].permute(0, 4, 1, 2, 3).float(), ids, VIDEOS)
    assert ((targets > 0).sum(1) == 2).all()


def test_generators_of_repeats_differ_for_every_key():
    dataset = dataset_of(repeats=3)
    keys = [(epoch, index, before) for epoch in range(3) for index in range(3) for before in range(3)]
    draws = [generator.random() for key in keys for generator in dataset._generators(key)]
    assert len(set(draws)) == 3 * len(keys)
    assert dataset._generators((1, 2))[2].random() == dataset._generators((1, 2, 0))[2].random()
    assert np.random.default_rng([1, 1, 2]).random() == dataset._generators((1, 2))[0].random()
