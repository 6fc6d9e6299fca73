"""Balanced draws: quotas, even use of every sample, and dependence on (seed, epoch) alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.balanced import of_classes

from vexp.data.loading.class_balance import balanced_order, class_quota, epoch_length, occurrence
from vexp.data.loading.dataloader import StepPlan, TrainSampler
from vexp.data.sources.splits import TrainSplit


@pytest.mark.parametrize(
    ("counts", "balance", "quota"),
    [
        ([90, 9, 1], 0.0, [90, 9, 1]),  # as in the list
        ([90, 9, 1], 1.0, [34, 33, 33]),  # equal, the rest to the lowest class
        ([81, 16, 4, 0], 0.5, [61, 27, 13, 0]),  # 9 : 4 : 2 of 101 is 60.6, 26.9, 13.5; a class without samples: none
        ([5, 0, 5], 1.0, [5, 0, 5]),
        ([7], 0.3, [7]),
    ],
)
def test_class_quota_returns_samples_of_each_class(counts, balance, quota):
    assert class_quota(np.array(counts), balance).tolist() == quota


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.floats(0, 1), st.integers(1, 6))
def test_balanced_order_uses_all_samples_before_repeating_one(labels, balance, epochs):
    order = of_classes(np.array(labels), 4, seed=1, balance=balance)
    drawn = [order.draws(epoch) for epoch in range(epochs)]
    for epoch in drawn:
        assert len(epoch) == len(labels)
        assert np.bincount(np.array(labels)[epoch], minlength=4).tolist() == order.quota.tolist()
    total = Counter(np.concatenate(drawn).tolist())
    for label in set(labels):
        times = [total[i] for i, own in enumerate(labels) if own == label]
        assert max(times) - min(times) <= 1


def test_balanced_order_depends_on_seed_and_epoch_only():
    labels = np.arange(100) % 3 % 2
    order = of_classes(labels, 2, seed=1, balance=1.0)
    later = order.draws(7).tolist()
    assert later == of_classes(labels, 2, seed=1, balance=1.0).draws(7).tolist()
    assert sorted(later) != sorted(order.draws(8).tolist())
    assert sorted(later) != sorted(of_classes(labels, 2, seed=2, balance=1.0).draws(7).tolist())


@given(st.lists(st.integers(0, 5)))
def test_occurrence_counts_earlier_entries(values):
    assert occurrence(np.array(values, np.int64)).tolist() == [values[:i].count(v) for i, v in enumerate(values)]


def orders(first_step, total_steps):
    labels = np.array([0] * 18 + [1] * 2)
    balanced = of_classes(labels, 2, seed=5, balance=1.0)
    plan = StepPlan(20, 3, 1, False)
    return list(
        TrainSampler(plan, seed=5, shuffle=True, balanced=balanced, first_step=first_step, total_steps=total_steps)
    )


def test_balanced_sampler_resumes_within_epoch():
    straight = orders(0, 20)
    assert orders(10, 20) == straight[10:]
    epoch = [key for batch in straight[:7] for key in batch]
    assert Counter(index >= 18 for _, index, _ in epoch) == {True: 10, False: 10}
    # A sample that comes again is another key, so it gets other frames and crops.
    assert len(set(epoch)) == 20
    assert sorted(before for _, index, before in epoch if index == 19) == [0, 1, 2, 3, 4]
    assert [index for _, index, _ in epoch] != sorted(index for _, index, _ in epoch)


class _Listed:
    """Labels, groups and numbers of the lists of samples."""

    def __init__(self, parts, labels=None, groups=None):
        self.classes = ["a", "b", "c"]
        self.multi_label = False
        self.parts, self.groups = np.array(parts, np.int32), groups
        self.labels = np.array(labels if labels is not None else [0] * len(parts))

    def __len__(self):
        return len(self.parts)


TWO_LISTS = [0] * 6 + [1] * 4


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, None), ({"repeat": 1.0}, None), ({"ratio": [3, 2]}, None),  # each sample once
        ({"repeat": 2}, [12, 8]), ({"repeat": [1, 3]}, [6, 12]), ({"repeat": [0.5, 1]}, [3, 4]),
        ({"ratio": [2, 1]}, [6, 3]), ({"ratio": [1, 2]}, [6, 12]), ({"repeat": 0.01}, [1, 1]),
    ],
)  # fmt: skip
def test_lists_are_drawn_by_repeat_and_ratio(options, sizes):
    source, split = _Listed(TWO_LISTS), TrainSplit(ann_file=["a", "b"], **options)
    order = balanced_order(source, split, seed=3)
    assert epoch_length(source, split) == sum(sizes or [6, 4])
    if sizes is None:
        assert order is None
        return
    drawn = np.concatenate([order.draws(epoch) for epoch in range(4)])
    assert np.bincount(source.parts[drawn]).tolist() == [4 * size for size in sizes]
    for part in (0, 1):  # all samples of a list before one is repeated
        times = np.bincount(drawn, minlength=10)[source.parts == part]
        assert times.max() - times.min() <= 1


def test_classes_are_balanced_within_each_list():
    source = _Listed(TWO_LISTS, labels=[0, 0, 0, 0, 0, 1, 0, 0, 0, 2])
    order = balanced_order(source, TrainSplit(ann_file=["a", "b"], repeat=[1, 2], class_balance=1.0), seed=3)
    drawn = order.draws(0)
    counts = [np.bincount(source.labels[drawn][source.parts[drawn] == part], minlength=3).tolist() for part in (0, 1)]
    assert counts == [[3, 3, 0], [4, 0, 4]]


def test_lists_are_balanced_each_by_its_number():
    source = _Listed(TWO_LISTS, labels=[0, 0, 0, 0, 0, 1, 0, 0, 0, 2])
    order = balanced_order(source, TrainSplit(ann_file=["a", "b"], class_balance=[0, 1.0]), seed=3)
    drawn = order.draws(0)
    assert sorted(drawn[source.parts[drawn] == 0]) == list(range(6))
    assert np.bincount(source.labels[drawn][source.parts[drawn] == 1]).tolist() == [2, 0, 2]


def test_one_list_is_balanced_as_before():
    labels = [0, 0, 0, 1, 2, 0]
    order = balanced_order(_Listed([0] * 6, labels), TrainSplit(ann_file="a", class_balance=0.5), seed=3)
    assert order.draws(5).tolist() == of_classes(labels, 3, seed=3, balance=0.5).draws(5).tolist()


def test_one_sample_of_each_group_is_drawn():
    groups = ["x", "x", "x", "", "y", "y", "x", "z", "z", ""]  # x of the second list is another group
    source, split = _Listed(TWO_LISTS, groups=groups), TrainSplit(ann_file=["a", "b"], one_per_group=True)
    assert epoch_length(source, split) == 6
    order = balanced_order(source, split, seed=3)
    epochs = [sorted(order.draws(epoch).tolist()) for epoch in range(40)]
    names = [f"{part} {group or i}" for i, (part, group) in enumerate(zip(TWO_LISTS, groups, strict=True))]
    assert all(len({names[i] for i in epoch}) == len(epoch) == 6 for epoch in epochs)
    assert {i for epoch in epochs for i in epoch} == set(range(10))
    assert epochs[7] == sorted(balanced_order(source, split, seed=3).draws(7).tolist())
