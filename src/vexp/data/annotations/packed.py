"""Packed sequences of strings or label sets: two arrays each, without a Python object per entry.

Memory that is only read stays shared between a process and its forked workers. A list of strings does not: updating the
reference count of a string writes to its memory page, so that every worker gets a copy of the list.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar, overload

from vexp.core.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

T = TypeVar("T")
_ROWS_AT_A_TIME = 65536  # limits the temporary memory of gather


@dataclass(frozen=True, slots=True, eq=False)
class Packed(Sequence[T]):
    """Entries of different length, concatenated in ``data`` (m, ...); ``ends`` int64 (n,) is the end of each entry."""

    data: NDArray[Any]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T | Self:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self._entry(self.raw(index))

    def raw(self, index: int) -> NDArray[Any]:
        """Return the part of ``data`` that is entry ``index``.

        Raises:
            IndexError: If the index is out of range (which ends an iteration).
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} is outside 0..{len(self) - 1}")
        index %= len(self)
        return self.data[self.ends[index - 1] if index else 0 : self.ends[index]]

    def take(self, rows: NDArray[np.integer[Any]]) -> Self:
        """Return the entries ``rows``, in that order."""
        return type(self)(*gather(self.data, self.ends, rows))

    def _entry(self, values: NDArray[Any]) -> T:
        raise NotImplementedError


class PackedStrings(Packed[str]):
    """Strings in one UTF-8 buffer, uint8.

    File names that are not UTF-8 are preserved (surrogateescape, as in ``os.fsdecode``).
    """

    __slots__ = ()

    @classmethod
    def pack(cls, texts: Iterable[str]) -> PackedStrings:
        packer = TextPacker()
        for text in texts:
            packer.add(text)
        return packer.finish()

    def digests(self, seed: int = 0) -> NDArray[np.uint64]:
        """Return a 64-bit hash of each string, uint64 (n,)."""
        return np.fromiter((digest(self.raw(i).tobytes(), seed) for i in range(len(self))), np.uint64, len(self))

    def _entry(self, values: NDArray[Any]) -> str:
        return values.tobytes().decode("utf-8", "surrogateescape")


class PackedLabels(Packed["NDArray[np.int32]"]):
    """The labels of multi-label samples, int32."""

    __slots__ = ()

    def _entry(self, values: NDArray[Any]) -> NDArray[np.int32]:
        return values


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


def take(values: Any, rows: NDArray[np.integer[Any]]) -> Any:
    """Return the entries ``rows`` of a packed sequence, an array or a list, in that order; None for None."""
    if isinstance(values, Packed):
        return values.take(rows)
    if isinstance(values, np.ndarray) or values is None:
        return None if values is None else values[rows]
    return [values[int(row)] for row in rows]


def gather(
    data: NDArray[Any], ends: NDArray[np.int64], rows: NDArray[np.integer[Any]]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the concatenated entries ``rows``, and their ends."""
    starts = ends - np.diff(ends, prepend=0)
    lengths = (ends - starts)[rows]
    new_ends = np.cumsum(lengths, dtype=np.int64)
    out = np.empty((int(new_ends[-1]) if len(rows) else 0, *data.shape[1:]), data.dtype)
    for begin in range(0, len(rows), _ROWS_AT_A_TIME):
        part = slice(begin, begin + _ROWS_AT_A_TIME)
        size, end = lengths[part], new_ends[part]
        shift = starts[rows[part]] - (end - size)  # from a position in out to the position in data
        first = int(end[0] - size[0])
        positions = np.arange(first, int(end[-1])) + np.repeat(shift, size)
        out[first : int(end[-1])] = data[positions]
    return out, new_ends
