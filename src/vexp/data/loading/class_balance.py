"""The order of an epoch in which lists and classes of samples are drawn by quota, not each sample once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import ConfigError
from vexp.data.sources.base import Source
from vexp.data.sources.splits import TrainSplit

Rows = NDArray[np.int64]


def class_quota(counts: NDArray[np.int64], balance: float, total: int | None = None) -> NDArray[np.int64]:
    """Return the samples of each class in an epoch, int64 (classes,); their sum is ``total``, or that of ``counts``.

    A class of n samples gets a share proportional to n^(1 - balance): 1 makes all classes equal, 0 leaves them as they
    are, 0.5 is the square root that is often used between. Classes without samples get none.
    """
    total = int(counts.sum()) if total is None else total
    weights = np.where(counts > 0, np.maximum(counts, 1) ** (1.0 - balance), 0.0)
    exact = total * weights / weights.sum()
    quota: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - quota), kind="stable")  # largest remainders, ties to the lower class
    quota[largest[: total - int(quota.sum())]] += 1
    return quota


class BalancedOrder:
    """The samples of any epoch, by the quota of each class, or of each list or class of a list.

    Each class goes through all of its samples before one is repeated, also from epoch to epoch: draw number k of a
    class, counted over the whole run, is entry k mod n of its permutation number k // n. A class is therefore used
    evenly whatever its quota, and an epoch is a function of (seed, epoch) alone.

    With ``groups``, the number of the group of each sample, (n,), the classes consist of groups instead, and a drawn
    group gives one of its samples at random.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        quota: NDArray[np.int64],
        *,
        seed: int,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        """Group the samples; ``labels`` are (n,), one for each sample, ``quota`` is (classes,)."""
        self.seed, self.quota = seed, quota
        self._groups = None
        if groups is not None:
            _, first, sizes = np.unique(groups, return_index=True, return_counts=True)
            self._groups = (np.argsort(groups, kind="stable"), np.cumsum(sizes) - sizes, sizes)
            labels = labels[first]
        counts = np.bincount(labels, minlength=len(quota))
        self._members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])

    def draws(self, epoch: int) -> NDArray[np.int64]:
        """Return the samples of an epoch, class by class: int64 (n,)."""
        drawn = [self._class_draws(label, epoch) for label in range(len(self.quota)) if self.quota[label]]
        order = np.concatenate(drawn).astype(np.int64)
        if self._groups is None:
            return order
        members, starts, sizes = self._groups
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch], spawn_key=(2,)))
        drawn_rows: NDArray[np.int64] = members[starts[order] + rng.integers(sizes[order])]
        return drawn_rows

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


def balanced_order(
    source: Source, split: TrainSplit, *, seed: int, sections: Sequence[int] | None = None
) -> BalancedOrder | None:
    """Return the order of the training samples by the options of their split; None if each occurs once in an epoch.

    ``sections`` are the samples of each list in an epoch, if its steps determine them (``StepPlan.sections``).

    Raises:
        ConfigError: If classes are balanced whose samples have several labels, or a list has no sample.
    """
    parts, groups, units = _units(source, split)
    sizes = np.bincount(parts[units], minlength=max(len(split.ann_files), 1))
    totals = _part_sizes(sizes, split) if sections is None else np.asarray(sections, np.int64)
    if not sizes[totals > 0].all():
        rule = f"no sample of file {int(np.argmin(sizes)) + 1} of ann_file is selected, which data.train.mix requires"
        raise ConfigError(rule, key="data.train")
    balances = np.broadcast_to(np.asarray(split.class_balance, np.float64), len(sizes))
    if sections is None and groups is None and not balances.any() and (totals == sizes).all():
        return None
    if not balances.any():
        return BalancedOrder(parts, totals, seed=seed, groups=groups)
    if source.multi_label:
        rule = "class balancing needs one label per sample, the training annotation has several; set it to 0"
        raise ConfigError(rule, key="data.train.class_balance", value=split.class_balance)
    labels = np.asarray(source.labels)
    classes = max(len(source.classes), int(labels.max()) + 1)  # more with data.train.own_classes
    strata = parts * classes + labels
    counts = np.bincount(strata[units], minlength=len(sizes) * classes).reshape(len(sizes), classes)
    rows = zip(counts, balances.tolist(), totals.tolist(), strict=True)
    quota = [class_quota(row, balance, total) for row, balance, total in rows]
    return BalancedOrder(strata, np.concatenate(quota), seed=seed, groups=groups)


def epoch_length(source: Source, split: TrainSplit) -> int:
    """Return the number of training samples in an epoch; with ``split.mix`` those of the first list alone."""
    if split.mix != "samples":
        parts, _, units = _units(source, split)
        return int(_part_sizes(np.bincount(parts[units]), split)[0])
    order = balanced_order(source, split, seed=0)
    return len(source) if order is None else int(order.quota.sum())


def _units(source: Source, split: TrainSplit) -> tuple[Rows, Rows | None, Rows]:
    """Return the list of each sample and its group (None: no groups), (n,), and a sample of each unit that is drawn."""
    parts = np.zeros(len(source), np.int64) if source.parts is None else source.parts.astype(np.int64)
    if not split.one_per_group:
        return parts, None, np.arange(len(source))
    groups = _group_numbers(source, parts)
    return parts, groups, np.unique(groups, return_index=True)[1]


def _part_sizes(sizes: NDArray[np.int64], split: TrainSplit) -> NDArray[np.int64]:
    """Return the samples of each list in an epoch, by ``repeat`` and ``ratio``; ``sizes`` are those of one pass."""
    exact = sizes * np.asarray(split.repeat, np.float64)
    if split.ratio is not None and split.mix == "samples":
        exact = sizes[0] * np.asarray(split.ratio) / split.ratio[0]
    return np.where(sizes > 0, np.maximum(np.round(exact), 1), 0).astype(np.int64)


def _group_numbers(source: Source, parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for the group of each sample in its list, (n,); a sample without a group has its own."""
    if source.groups is None:
        return np.arange(len(source))
    names = [(part, source.groups[i] or str(i), bool(source.groups[i])) for i, part in enumerate(parts.tolist())]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)
