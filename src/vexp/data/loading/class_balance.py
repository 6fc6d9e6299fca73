"""The order of an epoch in which rare classes are drawn as often as common ones, or nearly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_quota(counts: NDArray[np.int64], balance: float) -> NDArray[np.int64]:
    """Return the samples of each class in an epoch, int64 (classes,); their sum is that of ``counts``.

    A class of n samples gets a share proportional to n^(1 - balance): 1 makes all classes equal, 0 leaves them as they
    are, 0.5 is the square root that is often used between. Classes without samples get none.
    """
    total = int(counts.sum())
    weights = np.where(counts > 0, np.maximum(counts, 1) ** (1.0 - balance), 0.0)
    exact = total * weights / weights.sum()
    quota: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - quota), kind="stable")  # largest remainders, ties to the lower class
    quota[largest[: total - int(quota.sum())]] += 1
    return quota


class BalancedOrder:
    """The samples of any epoch, by class quota.

    Each class goes through all of its samples before one is repeated, also from epoch to epoch: draw number k of a
    class, counted over the whole run, is entry k mod n of its permutation number k // n. A class is therefore used
    evenly whatever its quota, and an epoch is a function of (seed, epoch) alone.
    """

    def __init__(self, labels: NDArray[np.integer], num_classes: int, *, seed: int, balance: float) -> None:
        """Group the samples; ``labels`` are (n,), one for each sample, ``balance`` is 0..1, see ``class_quota``."""
        counts = np.bincount(labels, minlength=num_classes).astype(np.int64)
        self.seed = seed
        self.quota = class_quota(counts, balance)
        self._members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])

    def draws(self, epoch: int) -> NDArray[np.int64]:
        """Return the samples of an epoch, class by class: int64 (n,)."""
        drawn = [self._class_draws(label, epoch) for label in range(len(self.quota)) if self.quota[label]]
        return np.concatenate(drawn).astype(np.int64)

    def _class_draws(self, label: int, epoch: int) -> NDArray[np.int64]:
        members, quota = self._members[label], int(self.quota[label])
        first_pass, skip = divmod(epoch * quota, len(members))
        last_pass, rest = divmod((epoch + 1) * quota, len(members))
        if first_pass == last_pass:
            return self._pass(label, first_pass)[skip:rest]
        whole = np.tile(members, last_pass - first_pass - 1)  # the epoch is shuffled: the order within does not matter
        return np.concatenate([self._pass(label, first_pass)[skip:], whole, self._pass(label, last_pass)[:rest]])

    def _pass(self, label: int, number: int) -> NDArray[np.int64]:
        members = self._members[label]
        if len(members) == 1:
            return members
        # The spawn key separates it from the order of the epoch and from the generators of samples.
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, label, number], spawn_key=(1,)))
        return members[rng.permutation(len(members))]


def occurrence(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each entry occurs before its position, int64 (n,): 0 for the first time."""
    by_value = np.argsort(order, kind="stable")
    values = order[by_value]
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
    result = np.empty(len(order), np.int64)
    result[by_value] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return result
