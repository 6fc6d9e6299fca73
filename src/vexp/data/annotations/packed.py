"""Packed sequences of strings or label sets: two arrays each, without a Python object per entry.

Memory that is only read stays shared between a process and its forked workers. A list of strings does not: updating the
reference count of a string writes to its memory page, so that every worker gets a copy of the list.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_A_TIME = 65536  # limits the temporary memory of gather


@dataclass(frozen=True, slots=True, eq=False)
class PackedStrings(Sequence[str]):
    """Strings in one UTF-8 buffer: ``data`` uint8 (bytes,) and ``ends`` int64 (n,), the end of each string.

    File names that are not UTF-8 are preserved (surrogateescape, as in ``os.fsdecode``).
    """

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @classmethod
    def pack(cls, texts: Iterable[str]) -> PackedStrings:
        packer = TextPacker()
        for text in texts:
            packer.add(text)
        return packer.finish()

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> PackedStrings: ...
    def __getitem__(self, index: int | slice) -> str | PackedStrings:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self.raw(index).decode("utf-8", "surrogateescape")

    def raw(self, index: int) -> bytes:
        """Return a string in UTF-8."""
        start, end = span(self.ends, index)
        return self.data[start:end].tobytes()

    def take(self, rows: NDArray[np.integer[Any]]) -> PackedStrings:
        """Return the entries ``rows``, in that order."""
        return PackedStrings(*gather(self.data, self.ends, rows))

    def digests(self, seed: int = 0) -> NDArray[np.uint64]:
        """Return a 64-bit hash of each string, uint64 (n,)."""
        return np.fromiter((digest(self.raw(i), seed) for i in range(len(self))), np.uint64, len(self))


@dataclass(frozen=True, slots=True, eq=False)
class PackedLabels(Sequence[NDArray[np.int32]]):
    """The labels of multi-label samples: ``values`` int32 (m,) and ``ends`` int64 (n,), the end of each sample."""

    values: NDArray[np.int32]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.int32]: ...
    @overload
    def __getitem__(self, index: slice) -> PackedLabels: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.int32] | PackedLabels:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        start, end = span(self.ends, index)
        return self.values[start:end]

    def take(self, rows: NDArray[np.integer[Any]]) -> PackedLabels:
        return PackedLabels(*gather(self.values, self.ends, rows))


class TextPacker:
    """Builder of ``PackedStrings``."""

    def __init__(self, empty: int = 0) -> None:
        """Start with ``empty`` empty strings."""
        self._data = bytearray()
        self._ends = array("q", [0]) * empty

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, text: str) -> None:
        self._data += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._data))

    def finish(self) -> PackedStrings:
        """Return the strings without copying them; nothing can be added afterwards."""
        return PackedStrings(np.frombuffer(self._data, np.uint8), np.frombuffer(self._ends, np.int64))


def digest(text: bytes, seed: int = 0) -> int:
    """Return 64 bits of BLAKE2, keyed by ``seed``; unlike ``hash``, they are the same on every machine."""
    return int.from_bytes(blake2b(text, digest_size=8, key=seed.to_bytes(8, "little")).digest(), "little")


def span(ends: NDArray[np.int64], index: int) -> tuple[int, int]:
    """Return the start and end of entry ``index``.

    Raises:
        IndexError: If the index is out of range (which ends an iteration over a packed sequence).
    """
    if not -len(ends) <= index < len(ends):
        raise IndexError(f"{index} is outside 0..{len(ends) - 1}")
    index %= len(ends)
    return (int(ends[index - 1]) if index else 0), int(ends[index])


def gather(
    data: NDArray[Any], ends: NDArray[np.int64], rows: NDArray[np.integer[Any]]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the concatenated entries ``rows``, and their ends."""
    starts = ends - np.diff(ends, prepend=0)
    lengths = (ends - starts)[rows]
    new_ends = np.cumsum(lengths, dtype=np.int64)
    out = np.empty(int(new_ends[-1]) if len(rows) else 0, data.dtype)
    for part in _parts(len(rows)):
        size, end = lengths[part], new_ends[part]
        shift = starts[rows[part]] - (end - size)  # from a position in out to the position in data
        first = int(end[0] - size[0])
        positions = np.arange(first, int(end[-1])) + np.repeat(shift, size)
        out[first : int(end[-1])] = data[positions]
    return out, new_ends


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS_AT_A_TIME):
        yield slice(start, min(start + _ROWS_AT_A_TIME, count))
