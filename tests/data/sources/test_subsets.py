"""Selection of samples: indices, fractions, limits per class, groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vexp.core.errors import ConfigError
from vexp.data.annotations.packed import PackedStrings
from vexp.data.sources.base import Source, Subset
from vexp.data.sources.subsets import at_most_per_class, fraction, leak_warning, select_rows, shared_groups


class Samples(Source):
    """A source of names, labels and groups."""

    def __init__(self, labels, groups=None, names=None, multi_label=False):
        self.labels = labels if multi_label else np.asarray(labels)
        self.multi_label = multi_label
        self.classes = [str(i) for i in range(10)]
        self.groups = groups
        self.names = names or [f"{i}.mp4" for i in range(len(labels))]

    def __len__(self):
        return len(self.labels)

    def name(self, index):
        return self.names[index]

    def open(self, index):
        raise NotImplementedError


# ---- by number ----


@pytest.mark.parametrize(
    ("indices", "chosen"),
    [
        (2, [0, 1]),  # the first two
        (-2, [3, 4]),  # the last two
        (5, [0, 1, 2, 3, 4]),
        (99, [0, 1, 2, 3, 4]),  # there are no more
        (-99, [0, 1, 2, 3, 4]),
        ([3], [3]),
        ([3, 0, 3], [3, 0, 3]),  # in this order, and again
        ([-1, -5], [4, 0]),  # from the end, as Python counts
    ],
)
def test_select_rows(indices, chosen):
    assert select_rows(5, indices, "key").tolist() == chosen


@pytest.mark.parametrize(("indices", "first"), [([0, 5], 5), ([-6], -6), ([1, 77, 99], 77)])
def test_select_rows_out_of_range_raises(indices, first):
    with pytest.raises(ConfigError, match=rf"{first} is outside 0\.\.4") as caught:
        select_rows(5, indices, "data.val.indices")
    assert caught.value.key == "data.val.indices"


# ---- fractions ----

shares = st.floats(0.01, 0.99)


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=60), share=shares, seed=st.integers(0, 3))
def test_fraction_is_stratified(labels, share, seed):
    source = Samples(labels)
    rows = fraction(source, share, seed=seed)
    assert rows.tolist() == sorted(set(rows.tolist()))  # in the order of the source, none twice
    assert abs(len(rows) - share * len(labels)) <= 0.5 + 1e-9
    for label in set(labels):
        assert abs(sum(labels[row] == label for row in rows) - share * labels.count(label)) <= 1 + 1e-9


@settings(deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdefg")), min_size=1, max_size=60),
    share=shares,
    seed=st.integers(0, 3),
)
def test_fraction_keeps_groups_whole(samples, share, seed):
    labels, groups = zip(*samples, strict=True)
    rows = fraction(Samples(labels, list(groups)), share, seed=seed)
    inside = {groups[row] for row in rows}
    assert rows.tolist() == [i for i, group in enumerate(groups) if group in inside]
    largest = max(groups.count(group) for group in groups)
    assert abs(len(rows) - share * len(labels)) <= largest / 2 + 1e-9


def test_fraction_keeps_segments_of_a_video_together():
    source = Samples([0, 1] * 10, names=[f"{i // 4}.mp4" for i in range(20)])
    rows = fraction(source, 0.4, seed=0)
    assert len(rows) == 8
    assert {row // 4 for row in rows} == {row // 4 for row in rows if row % 4 == 0}


def test_fraction_depends_on_names_and_seed_not_on_order():
    names = [f"video {i}" for i in range(50)]
    forward = fraction(Samples([0] * 50, names=names), 0.2, seed=0)
    backward = fraction(Samples([0] * 50, names=names[::-1]), 0.2, seed=0)
    assert {names[i] for i in forward} == {names[::-1][i] for i in backward}
    assert forward.tolist() != fraction(Samples([0] * 50, names=names), 0.2, seed=1).tolist()
    assert forward.tolist() == [6, 9, 17, 20, 22, 30, 33, 41, 45, 48]  # as recorded: the same on any machine


def test_fraction_selects_samples_with_equal_probability():
    times = np.zeros(20)
    source = Samples([0] * 7 + [1] * 13)
    for seed in range(2000):
        times[fraction(source, 0.3, seed=seed)] += 1
    assert times.sum() == 2000 * 6
    assert abs(times[:7] / 2000 - 2 / 7).max() < 0.05  # of seven two, of thirteen four
    assert abs(times[7:] / 2000 - 4 / 13).max() < 0.05


def test_fraction_spare_single_keeps_classes_of_one_sample():
    source = Samples([0, 1, 2, 2, 2, 2])
    assert set(fraction(source, 0.9, seed=0).tolist()) & {0, 1}
    rows = fraction(source, 0.9, seed=0, spare_single=True)
    assert len(rows) == 4
    assert not set(rows.tolist()) & {0, 1}


def test_fraction_multi_label_stratifies_by_first_label():
    source = Samples([[0, 1], [1], [], [0]] * 10, multi_label=True)
    rows = fraction(source, 0.5, seed=0)
    assert np.bincount(rows % 4).tolist() == [10 - np.sum(rows % 4 == 3), 5, 5, np.sum(rows % 4 == 3)]


# ---- limits ----


def test_at_most_per_class_selects_first_samples():
    source = Samples([0, 0, 1, 0, 1, 2])
    assert at_most_per_class(source, 1, np.arange(6)).tolist() == [0, 2, 5]
    assert at_most_per_class(source, 2, np.array([5, 4, 3, 2, 1, 0])).tolist() == [5, 4, 3, 2, 1]
    several = Samples([[0], [0, 1], [0], [1], [1]], multi_label=True)
    assert at_most_per_class(several, 1, np.arange(5)).tolist() == [0, 1]


# ---- groups ----


def test_shared_groups_returns_common_groups():
    first = Samples([0] * 4, PackedStrings.pack(["b", "a", "", "c"]))
    second = Samples([0] * 4, ["c", "", "b", "d"])
    assert shared_groups(first, second) == ["b", "c"]  # not the empty one: it is no group
    assert shared_groups(first, Samples([0])) == []
    assert "train and val share 1 group (b)" in leak_warning("train", "val", ["b"])
    assert "share 5 groups (a, b, c ...)" in leak_warning("train", "val", list("abcde"))


def test_subset_has_members_of_source():
    whole = Samples([3, 4, 5], PackedStrings.pack(["x", "y", "z"]))
    whole.origin = "list.txt"
    part = Subset(whole, np.array([2, 0]))
    assert (len(part), part.labels.tolist(), list(part.groups)) == (2, [5, 3], ["z", "x"])
    assert ([part.name(i) for i in range(2)], part.origin) == (["2.mp4", "0.mp4"], "list.txt")
    assert Subset(Samples([[0], [1, 2]], multi_label=True), np.array([1])).labels == [[1, 2]]
