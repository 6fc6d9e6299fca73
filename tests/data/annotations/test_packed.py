"""Packed strings and label sets return what was packed, in any selection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexp.data.annotations import packed
from vexp.data.annotations.packed import PackedLabels, PackedStrings, TextPacker

# Lone surrogates up to U+DCFF are how Python names files that are no UTF-8; no other lone surrogate is a name.
names = st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff"), max_size=12))


@given(names, st.data())
def test_packed_strings_take_returns_strings(texts, data):
    made = PackedStrings.pack(texts)
    assert list(made) == texts
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=20)) if texts else []
    assert list(made.take(np.array(rows, np.int64))) == [texts[row] for row in rows]
    assert list(made[1:3]) == texts[1:3]


@given(st.lists(st.lists(st.integers(0, 99), max_size=5)), st.data())
def test_packed_labels_take_returns_labels(sets, data):
    flat = np.array([label for labels in sets for label in labels], np.int32)
    made = PackedLabels(flat, np.cumsum([len(labels) for labels in sets], dtype=np.int64))
    assert [labels.tolist() for labels in made] == sets
    rows = data.draw(st.lists(st.integers(0, len(sets) - 1), max_size=20)) if sets else []
    assert [labels.tolist() for labels in made.take(np.array(rows, np.int64))] == [sets[row] for row in rows]


def test_take_more_rows_than_one_chunk(monkeypatch):
    monkeypatch.setattr(packed, "_ROWS_AT_A_TIME", 3)
    texts = ["a", "", "日本", "ddd", "é", "f" * 9, "g"]
    order = [6, 0, 2, 2, 5, 1, 4, 3, 1, 1]
    assert list(PackedStrings.pack(texts).take(np.array(order))) == [texts[i] for i in order]


def test_negative_index_counts_from_the_end():
    made = PackedStrings.pack(["a", "b", "c"])
    assert (made[-1], made[-3], len(made)) == ("c", "a", 3)
    for outside in (3, -4):
        with pytest.raises(IndexError):
            made[outside]


def test_text_packer_starts_with_empty_entries():
    packer = TextPacker(empty=2)
    packer.add("x")
    assert list(packer.finish()) == ["", "", "x"]


def test_digests_depend_on_string_and_seed_only():
    made = PackedStrings.pack(["a", "b", "a", ""])
    numbers = made.digests()
    assert numbers[0] == numbers[2]
    assert len(set(numbers.tolist())) == 3
    assert numbers.tolist() == [PackedStrings.pack([text]).digests()[0] for text in made]
    assert numbers[0] == 0x3A030DABA6EC79B9  # BLAKE2b of the bytes, on any machine
    assert made.digests(seed=1)[0] != numbers[0]
