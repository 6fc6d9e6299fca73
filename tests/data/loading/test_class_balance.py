"""Balanced draws: quotas, even use of every sample, and dependence on (seed, epoch) alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.balanced import of_classes

from vexp.data.loading.class_balance import class_quota, occurrence
from vexp.data.loading.dataloader import StepPlan, TrainSampler


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
