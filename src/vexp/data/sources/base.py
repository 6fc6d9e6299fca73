"""Where a sample's frames come from: the door between a data set and the sampling, decoding and geometry after it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.packed import PackedLabels, PackedStrings
from vexp.data.decoding.frame_stream import Frame, FrameStream


class Reader(Protocol):
    """An opened video. ``width`` and ``height`` are those of the frames it delivers.

    A reader that knows when each frame is shown also has ``times``, float64 (num_frames,) seconds or None: the frames
    of a video without it are taken to be evenly ``1 / fps`` apart. One that decodes has ``pictures``, as
    ``vexp.data.decoding.frame_stream.PictureReader``: its frames are then used one by one as they come.
    """

    @property
    def num_frames(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def fps(self) -> float | None:
        """Average frames a second; None where nobody knows."""
        ...

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """The frames of 0-based numbers, in that order: uint8 (len(indices), height, width, C).

        C is 3 for RGB, 2 for optical flow (x, y).
        """
        ...


class Source(Protocol):
    """The samples of one split. A data set of one's own implements this (see ``vexp.data.sources.config.Data``).

    It may have more: ``multi_label`` (True: ``labels[i]`` is an array of class numbers), ``groups`` (a string for each
    sample, empty for none: what must stay on one side of a split), ``origin`` (where the samples come from, for the
    log), ``take(rows)`` (a source of these samples only, where that is smaller than a ``Subset``).
    """

    @property
    def labels(self) -> Any:
        """The class number of sample i at ``labels[i]``: an int array (n,), or ``PackedLabels``."""
        ...

    @property
    def classes(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a sample is called in reports and messages."""
        ...

    def open(self, index: int) -> AbstractContextManager[Reader]:
        """Called in the worker that makes the sample; closed after it."""
        ...


class ArrayReader:
    """A reader of frames that are in memory: uint8 (T, H, W, 3) RGB, or (T, H, W, 2) optical flow."""

    def __init__(self, frames: NDArray[np.uint8], fps: float | None = None) -> None:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] not in (2, 3):
            raise UserError(f"frames must be uint8 (T, H, W, 3 or 2), got {frames.dtype} {frames.shape}")
        self._frames = frames
        self.fps = fps
        self.num_frames, self.height, self.width, _ = frames.shape

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        wanted: NDArray[np.uint8] = self._frames[np.asarray(indices)]
        return wanted

    def __enter__(self) -> ArrayReader:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def frame_times(reader: Reader) -> NDArray[np.float64]:
    """Seconds at which each frame of a video is shown: float64 (num_frames,), ascending from the first.

    Raises:
        ValueError: neither times nor a frame rate are known.
    """
    times: NDArray[np.float64] | None = getattr(reader, "times", None)
    if times is not None:
        return times
    if not reader.fps:
        raise ValueError(
            "its frame rate is not known, so it cannot be sampled by time: give it (data.fps of raw frames), or set "
            "target_fps and clip_seconds to null"
        )
    return np.arange(reader.num_frames) / reader.fps


def film_of(reader: Reader, numbers: NDArray[np.int64]) -> FrameStream | NDArray[np.uint8]:
    """The frames ``numbers`` (n,), ascending and distinct: (n, H, W, C), one after the other where the reader can."""
    pictures: Callable[[Sequence[int]], Iterator[Frame]] | None = getattr(reader, "pictures", None)
    return reader.frames(numbers) if pictures is None else FrameStream.of(pictures(numbers.tolist()), len(numbers))


class ListedSource(ABC):
    """Base of the sources whose samples an annotation names."""

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        self.labels = annotation.labels_packed
        self.multi_label = annotation.multi_label
        self.classes = annotation.classes
        self.groups = annotation.groups
        self.origin = annotation.origin

    def __len__(self) -> int:
        return len(self.annotation)

    def name(self, index: int) -> str:
        return self.annotation.name(index)

    @abstractmethod
    def open(self, index: int) -> AbstractContextManager[Reader]: ...

    def take(self, rows: NDArray[np.int64]) -> ListedSource:
        taken = copy.copy(self)
        ListedSource.__init__(taken, self.annotation.take(rows))
        return taken


class VideoSource(ListedSource):
    """Video files named by an annotation, or the segments of them that it names."""

    def __init__(self, annotation: Annotation, *, backend: str = "auto", strict: bool = False) -> None:
        """``backend``, ``strict``: as in ``vexp.data.decoding.open_video``."""
        ListedSource.__init__(self, annotation)
        self.backend = backend
        self.strict = strict

    def open(self, index: int) -> AbstractContextManager[Reader]:
        from vexp.data.decoding import open_video  # a decoder is loaded by the worker that decodes

        path = self.annotation.path(index)
        reader = cast("AbstractContextManager[Reader]", open_video(path, self.backend, strict=self.strict))
        return segment_of(path, reader, self.annotation.segment(index))


def segment_of(
    path: str, opened: AbstractContextManager[Reader], segment: tuple[float, float] | None
) -> AbstractContextManager[Reader]:
    """An opened video, or the part of it that ``segment`` (start, end in seconds) names."""
    return opened if segment is None else _segment(path, opened, *segment)


@contextmanager
def _segment(path: str, opened: AbstractContextManager[Reader], start: float, end: float) -> Iterator[Reader]:
    with opened as reader:
        yield SegmentReader(path, reader, start, end)


class SegmentReader:
    """A part of a video as if it were all of it: its frame 0 is the first at or after ``start``, its last one lies
    before ``end``.

    Frames lie where the file says (``times``); in a file that does not say, evenly, by its average rate.
    """

    def __init__(self, path: str, reader: Reader, start: float, end: float) -> None:
        times: NDArray[np.float64] | None = getattr(reader, "times", None)
        self.fps: float | None = getattr(reader, "fps", None)
        if times is None and not self.fps:
            raise UserError(f"{path}: does not say its frame rate, so its segment {start:g}..{end:g} s cannot be found")
        if times is None:
            times = np.arange(reader.num_frames) / float(self.fps or 0)
        tolerance = 1e-6  # a border that is meant to be a frame's own time is not moved by rounding
        first, stop = (int(place) for place in np.searchsorted(times, [start - tolerance, end - tolerance]))
        if stop <= first:
            raise UserError(
                f"{path}: no frame lies in its segment {start:g}..{end:g} s, the last is at {times[-1]:.2f} s"
            )
        self._reader, self._first = reader, first
        self.num_frames = stop - first
        self.times = times[first:stop] - times[first]

    @property
    def width(self) -> int:
        return self._reader.width

    @property
    def height(self) -> int:
        return self._reader.height

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._reader.frames(self._numbers(indices))

    def pictures(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """The frames ``numbers`` (ascending, distinct), one after the other."""
        return iter(film_of(self._reader, self._numbers(numbers)))

    def _numbers(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Those frames' numbers in the whole video."""
        numbers = np.asarray(indices, np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < self.num_frames:
            raise UserError(f"frames {numbers.min()}..{numbers.max()} are not all in 0..{self.num_frames - 1}")
        return numbers + self._first


class Subset:
    """Some samples of a source, in an order of their own."""

    def __init__(self, source: Source, rows: NDArray[np.int64]) -> None:
        """``rows``: int64 (n,), numbers of the samples in ``source``."""
        self.source = source
        self.rows = rows
        self.classes = source.classes
        self.multi_label = is_multi_label(source)
        self.origin: str = getattr(source, "origin", "")
        self.labels = _taken(source.labels, rows)
        groups = groups_of(source)
        self.groups = _taken(groups, rows) if groups is not None else None

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return self.source.name(int(self.rows[index]))

    def open(self, index: int) -> AbstractContextManager[Reader]:
        return self.source.open(int(self.rows[index]))


def subset(source: Source, rows: NDArray[np.int64]) -> Source:
    """The samples ``rows`` of a source, in that order: as the source itself takes them, or as a ``Subset``."""
    take: Callable[[NDArray[np.int64]], Source] | None = getattr(source, "take", None)
    return take(rows) if take is not None else Subset(source, rows)


def _taken(values: Any, rows: NDArray[np.int64]) -> Any:
    if isinstance(values, PackedStrings | PackedLabels):
        return values.take(rows)
    return values[rows] if isinstance(values, np.ndarray) else [values[int(row)] for row in rows]


def is_multi_label(source: Source) -> bool:
    """Whether its samples may have several labels."""
    return bool(getattr(source, "multi_label", False))


def groups_of(source: Source) -> Sequence[str] | None:
    """A group for each sample, empty where it has none; None: the source has no groups."""
    groups: Sequence[str] | None = getattr(source, "groups", None)
    return groups
