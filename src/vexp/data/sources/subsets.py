"""Selection of the samples of a split: by index, by fraction, by class, or held out of another split.

Everything here is a function of the source and the arguments: the same in every run, process and worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import ConfigError
from vexp.data.annotations.packed import PackedStrings, digest
from vexp.data.sources.base import Source, complete_source
from vexp.data.sources.config import Data

Rows = NDArray[np.int64]
_NAMED_GROUPS = 3  # in a warning


def select_samples(data: Data, split: str) -> Source | None:
    """Return the samples that a split trains or evaluates on; None if the split has no samples.

    They are those of ``data.source`` without the samples held out of training; of these, first ``indices`` and then
    ``per_class`` of the split select some.

    Raises:
        UserError: If the samples cannot be listed, an index is out of range, or no sample remains.
    """
    if (from_split := data.split(split).from_split) is None:
        return _restrict(data, _listed(data, split), split)
    return _restrict(data, _restrict(data, _listed(data, from_split), from_split), split)


def _listed(data: Data, split: str) -> Source | None:
    """Return the samples listed for a split, after samples have been held out of training."""
    shares = {name: share for name in ("val", "test") if (share := data.split(name).hold_out) is not None}
    held_out = bool(shares) and (split == "train" or split in shares)
    source = data.source("train" if held_out else split)
    if source is None:
        if held_out:
            raise ConfigError("there are no training samples to hold out", key=f"data.{next(iter(shares))}.hold_out")
        return None
    source = complete_source(source)
    return source.take(hold_out(source, shares, seed=data.split_seed)[split]) if held_out else source


def hold_out(
    train: Source, shares: Mapping[str, float], *, seed: int, option: str = "data.{}.hold_out={}"
) -> dict[str, Rows]:
    """Hold a share (0..1) of the training samples out for each split in ``shares``.

    Messages name the option of a split by the template ``option``. Returns the indices of each split's samples, and
    under "train" those of the remaining ones.

    Raises:
        UserError: If a split or training would have no sample.
    """
    remaining, parts = np.arange(len(train)), {}
    for name, share in shares.items():
        share_of_remaining = min(share * len(train) / len(remaining), 1.0)
        part = fraction(train, share_of_remaining, seed=seed, rows=remaining, spare_single=True)
        remaining = np.setdiff1d(remaining, part)
        if not len(part) or not len(remaining):
            raise ConfigError(
                f"{option.format(name, share)}: no sample remains for {'train' if len(part) else name}; of the "
                f"{len(train)} training samples, groups are not divided and each class keeps at least one"
            )
        parts[name] = part
    return {"train": remaining, **parts}


def _restrict(data: Data, source: Source | None, split: str) -> Source | None:
    """Apply ``indices`` and then ``per_class`` of a split."""
    options = data.split(split)
    if source is None or (options.indices is None and options.per_class is None):
        return source
    rows = np.arange(len(source))
    key = f"data.{split}.indices"
    if isinstance(options.indices, float):
        rows = fraction(source, options.indices, seed=data.split_seed)
        if not len(rows):
            raise ConfigError(f"is less than one of the {len(source)} samples", key=key, value=options.indices)
    elif options.indices is not None:
        rows = select_rows(len(source), options.indices, key)
    if options.per_class is not None:
        rows = at_most_per_class(source, options.per_class, rows)
    return source.take(rows)


def select_rows(count: int, indices: int | Sequence[int], key: str) -> Rows:
    """Select some of ``count`` rows, int64 (selected,); ``key`` is the config key of ``indices``.

    ``indices`` is n for the first n rows, -n for the last n, or a list of indices, negative ones counted from the end.

    Raises:
        ConfigError: If an index is out of range.
    """
    if isinstance(indices, int):
        return np.arange(count)[:indices] if indices > 0 else np.arange(count)[indices:]
    for index in indices:
        if not -count <= index < count:
            raise ConfigError(f"{index} is outside 0..{count - 1}, the samples of this split", key=key)
    return np.asarray(indices, np.int64) % count


def fraction(source: Source, share: float, *, seed: int, rows: Rows | None = None, spare_single: bool = False) -> Rows:
    """Select a share of the samples, stratified by class, in the order of the source.

    The proportion of every class, and of the whole, is kept as far as possible. Samples of one group are selected
    together or not at all, and so are the segments of one video; such a unit counts for the class of its first sample.
    The selection depends on ``seed`` and on the names of groups and videos. ``rows`` are the indices of the samples to
    select from (None: all). With ``spare_single``, nothing is selected from a class of one group or video.
    """
    rows = np.arange(len(source)) if rows is None else rows
    keys, first, unit = np.unique(_unit_keys(source, rows, seed), return_index=True, return_inverse=True)
    sizes = np.bincount(unit, minlength=len(keys))
    strata = np.array([_stratum(source, int(rows[i])) for i in first], np.int64)
    _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
    eligible = np.flatnonzero(counts[stratum] > 1) if spare_single else np.arange(len(keys))
    selected = np.zeros(len(keys), np.bool_)
    total = taken = 0
    for i in eligible[np.argsort(strata[eligible], kind="stable")]:  # within a class in the (random) order of keys
        size = int(sizes[i])
        total += size
        if taken + size / 2 <= share * total:  # closer to the share with this unit than without it
            selected[i] = True
            taken += size
    return rows[selected[unit]]


def at_most_per_class(source: Source, count: int, rows: Rows) -> Rows:
    """Select the first ``count`` samples of each class; a multi-label sample is kept if one of its classes needs it."""
    counts = [0] * len(source.classes)
    selected = np.zeros(len(rows), np.bool_)
    for place, row in enumerate(rows):
        labels = np.atleast_1d(source.labels[int(row)]).tolist()
        if any(counts[label] < count for label in labels):
            selected[place] = True
            for label in labels:
                counts[label] += 1
    return rows[selected]


def shared_groups(first: Source, second: Source) -> list[str]:
    """Return the groups that occur in both sources, in alphabetical order."""
    if first.groups is None or second.groups is None:
        return []
    digests = _digests(second.groups)
    shared = np.flatnonzero(np.isin(digests, _digests(first.groups)))
    return sorted({second.groups[int(i)] for i in shared} - {""})


def leak_warning(first: str, second: str, shared: Sequence[str]) -> str:
    """Return the warning that two splits share groups."""
    names = ", ".join(shared[:_NAMED_GROUPS]) + (" ..." if len(shared) > _NAMED_GROUPS else "")
    groups = f"{len(shared)} group{'s' * (len(shared) > 1)} ({names})"
    return f"data: {first} and {second} share {groups}; metrics on {second} will be too high"


def _unit_keys(source: Source, rows: Rows, seed: int) -> NDArray[np.uint64]:
    """Return a random number for the group of each row, or for its video if it has no group: uint64 (rows,)."""
    groups = source.groups

    def key(row: int) -> int:
        group = groups[row] if groups is not None else ""
        name = f"group {group}" if group else f"video {source.name(row)}"
        return digest(name.encode("utf-8", "surrogateescape"), seed)

    return np.fromiter((key(int(row)) for row in rows), np.uint64, len(rows))


def _stratum(source: Source, row: int) -> int:
    """Return the class by which a sample is stratified: the first of its labels, -1 without labels."""
    labels = np.atleast_1d(source.labels[row])
    return int(labels[0]) if len(labels) else -1


def _digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    return (texts if isinstance(texts, PackedStrings) else PackedStrings.pack(texts)).digests()
