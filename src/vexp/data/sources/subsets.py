"""Which samples of a source a split takes: numbers of rows, a fraction, so many a class, a part held out.

Everything here is a function of the source and its arguments: the same for every run, process and worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.annotations.packed import PackedStrings, digest
from vexp.data.sources.base import Source, groups_of, is_multi_label, subset

if TYPE_CHECKING:
    from vexp.data.sources.config import Data

Rows = NDArray[np.int64]
_NAMED = 3  # groups named in a warning


def samples(data: Data, split: str) -> Source | None:
    """What ``data.samples`` promises."""
    origin = data.split(split).from_split
    if origin is None:
        return _chosen(data, _own(data, split), split)
    return _chosen(data, _chosen(data, _own(data, origin), origin), split)


def _own(data: Data, split: str) -> Source | None:
    """What a split lists; of "train" what is left of it, and of a split that holds out its part of "train"."""
    shares = {name: data.split(name).hold_out for name in ("val", "test")}
    held = {name: share for name, share in shares.items() if share is not None}
    if not held or (split != "train" and split not in held):
        return data.source(split)
    train = data.source("train")
    if train is None:
        raise UserError(f"data.{next(iter(held))}.hold_out: there are no training samples to take them from")
    return subset(train, hold_out(train, held, seed=data.split_seed)[split])


def hold_out(
    train: Source, shares: Mapping[str, float], *, seed: int, option: str = "data.{}.hold_out={}"
) -> dict[str, Rows]:
    """Rows of ``train`` for each split that takes a share of them, and under "train" those that are left.

    ``option``: how a split and its share were asked for, for messages.

    Raises:
        UserError: nothing is left for one of them.
    """
    rest, parts = np.arange(len(train)), {}
    for name, share in shares.items():
        of_rest = min(share * len(train) / len(rest), 1.0)
        part = fraction(train, of_rest, seed=seed, rows=rest, spare_single=True)
        rest = np.setdiff1d(rest, part)
        if not len(part) or not len(rest):
            raise UserError(
                f"{option.format(name, share)}: leaves no sample for {'train' if len(part) else name}: of the "
                f"{len(train)} training samples, groups stay whole and each class keeps one"
            )
        parts[name] = part
    return {"train": rest, **parts}


def _chosen(data: Data, source: Source | None, split: str) -> Source | None:
    """Of the source what ``indices`` and then ``per_class`` leave."""
    options = data.split(split)
    if source is None or (options.indices is None and options.per_class is None):
        return source
    rows = np.arange(len(source))
    key = f"data.{split}.indices"
    if isinstance(options.indices, float):
        rows = fraction(source, options.indices, seed=data.split_seed)
        if not len(rows):
            raise UserError(f"{key}={options.indices}: is less than one of the {len(source)} samples")
    elif options.indices is not None:
        rows = select_rows(len(source), options.indices, key)
    if options.per_class is not None:
        rows = at_most_per_class(source, options.per_class, rows)
    return subset(source, rows)


def select_rows(count: int, indices: int | Sequence[int], key: str) -> Rows:
    """n = the first n, -n = the last n, a list = those, counted from the end where negative; int64 (chosen,).

    Raises:
        UserError: a number outside, named by ``key``.
    """
    if isinstance(indices, int):
        return np.arange(count)[:indices] if indices > 0 else np.arange(count)[indices:]
    for i in indices:
        if not -count <= i < count:
            raise UserError(f"{key}: {i} is outside 0..{count - 1}, the samples of this split")
    return np.asarray(indices, np.int64) % count


def fraction(source: Source, share: float, *, seed: int, rows: Rows | None = None, spare_single: bool = False) -> Rows:
    """A share of the samples (of ``rows``), stratified by class: each class keeps its proportion, as far as whole
    samples allow, and so does the whole. In the order of the source.

    Samples of one group are taken together or not at all, and so are those of one video (its segments); what is
    indivisible counts for the class of its first sample. Which are taken depends on ``seed`` and on names.

    Args:
        share: between 0 and 1.
        spare_single: leave a class alone that has no second group or video.
    """
    rows = np.arange(len(source)) if rows is None else rows
    keys, first, unit = np.unique(_unit_keys(source, rows, seed), return_index=True, return_inverse=True)
    sizes = np.bincount(unit, minlength=len(keys))
    strata = np.array([_stratum(source, int(rows[i])) for i in first], np.int64)
    if spare_single:
        _, of, counts = np.unique(strata, return_inverse=True, return_counts=True)
        eligible = np.flatnonzero(counts[of] > 1)
    else:
        eligible = np.arange(len(keys))
    chosen = np.zeros(len(keys), np.bool_)
    seen = taken = 0
    for i in eligible[np.argsort(strata[eligible], kind="stable")]:  # within a class by key, that is at random
        size = int(sizes[i])
        seen += size
        if taken + size / 2 <= share * seen:  # taking it comes nearer to the share than leaving it
            chosen[i] = True
            taken += size
    return rows[chosen[unit]]


def at_most_per_class(source: Source, count: int, rows: Rows) -> Rows:
    """The first ``count`` samples of every class; one with several labels stays if one of its classes needs it."""
    have = [0] * len(source.classes)
    kept = np.zeros(len(rows), np.bool_)
    for place, row in enumerate(rows):
        labels = np.atleast_1d(source.labels[int(row)]).tolist()
        if any(have[label] < count for label in labels):
            kept[place] = True
            for label in labels:
                have[label] += 1
    return rows[kept]


def shared_groups(first: Source, second: Source) -> list[str]:
    """Groups that occur in both, in alphabetical order."""
    ours, theirs = groups_of(first), groups_of(second)
    if ours is None or theirs is None:
        return []
    known, numbers = _digests(ours), _digests(theirs)
    both = np.flatnonzero(np.isin(numbers, known))
    return sorted({theirs[int(i)] for i in both} - {""})


def leak_warning(first: str, second: str, shared: Sequence[str]) -> str:
    """The sentence for the run's log."""
    named = ", ".join(shared[:_NAMED]) + (" ..." if len(shared) > _NAMED else "")
    plural = "s" * (len(shared) > 1)
    return f"data: {first} and {second} share {len(shared)} group{plural} ({named}): {second} flatters the net"


def _unit_keys(source: Source, rows: Rows, seed: int) -> NDArray[np.uint64]:
    """A random number for what must not be divided: the group of each row, or its video; uint64 (rows,)."""
    groups = groups_of(source)

    def key(row: int) -> int:
        group = groups[row] if groups is not None else ""
        name = f"group {group}" if group else f"video {source.name(row)}"
        return digest(name.encode("utf-8", "surrogateescape"), seed)

    return np.fromiter((key(int(row)) for row in rows), np.uint64, len(rows))


def _stratum(source: Source, row: int) -> int:
    if not is_multi_label(source):
        return int(source.labels[row])
    labels = source.labels[row]
    return int(labels[0]) if len(labels) else -1


def _digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    return (texts if isinstance(texts, PackedStrings) else PackedStrings.pack(texts)).digests()
