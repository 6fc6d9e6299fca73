"""Packed strings and label sets: what goes in comes out, in any selection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexp.data.annotations import packed
from vexp.data.annotations.packed import PackedLabels, PackedStrings, TextPacker

# Lone surrogates up to U+DCFF are how Python names files that are no UTF-8; no other lone surrogate is a name.
names = st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff"), max_size=12))


@given(names, st.data())
def test_texts_come_back_in_any_selection(texts, data):
    made = PackedStrings.pack(texts)
    assert list(made) == texts
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=20)) if texts else []
    assert list(made.take(np.array(rows, np.int64))) == [texts[row] for row in rows]
    assert list(made[1:3]) == texts[1:3]


@given(st.lists(st.lists(st.integers(0, 99), max_size=5)), st.data())
def test_label_sets_come_back_in_any_selection(sets, data):
    flat = np.array([label for labels in sets for label in labels], np.int32)
    made = PackedLabels(flat, np.cumsum([len(labels) for labels in sets], dtype=np.int64))
    assert [labels.tolist() for labels in made] == sets
    rows = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=20)) if sets else []
    assert [labels.tolist() for labels in made.take(np.array(rows, np.int64))] == [sets[row] for row in rows]


def test_a_selection_larger_than_one_portion(monkeypatch):
    monkeypatch.setattr(packed, "_ROWS_AT_A_TIME", 3)
    texts = ["a", "", "日本", "ddd", "é", "f" * 9, "g"]
    order = [6, 0, 2, 2, 5, 1, 4, 3, 1, 1]
    assert list(PackedStrings.pack(texts).take(np.array(order))) == [texts[i] for i in order]


def test_entries_count_from_the_end_and_stop_there():
    made = PackedStrings.pack(["a", "b", "c"])
    assert (made[-1], made[-3], len(made)) == ("c", "a", 3)
    for outside in (3, -4):
        with pytest.raises(IndexError):
            made[outside]


def test_a_packer_may_begin_with_empty_entries():
    packer = TextPacker(empty=2)
    packer.add("x")
    assert list(packer.finish()) == ["", "", "x"]


def test_digests_are_those_of_the_strings_alone():
    made = PackedStrings.pack(["a", "b", "a", ""])
    numbers = made.digests()
    assert numbers[0] == numbers[2]
    assert len(set(numbers.tolist())) == 3
    assert numbers.tolist() == [PackedStrings.pack([text]).digests()[0] for text in made]
    assert numbers[0] == 0x3A030DABA6EC79B9  # BLAKE2b of the bytes, on any machine
    assert made.digests(seed=1)[0] != numbers[0]
