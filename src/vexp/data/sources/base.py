"""Sources of samples: the interface between a dataset and the sampling, decoding and geometry of its videos."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vexp.core.errors import UserError
from vexp.core.lazy import np
from vexp.data.annotations.annotation import Annotation
from vexp.data.annotations.folders import is_image
from vexp.data.annotations.packed import take
from vexp.data.decoding.frame_stream import FrameStream
from vexp.data.pixel_type import Frame
from vexp.data.sources.proxies import Proxies
from vexp.data.storage import identity, is_stored

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray


class Reader(Protocol):
    """An opened video. A reader may also be a ``TimedReader`` and a ``SequentialReader``."""

    @property
    def num_frames(self) -> int: ...
    @property
    def width(self) -> int:
        """Width of the frames that ``frames`` returns, in pixels."""
        ...

    @property
    def height(self) -> int: ...
    @property
    def fps(self) -> float | None:
        """Average number of frames per second; None if it is unknown."""
        ...

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the frames with these 0-based indices, in that order: uint8 (len(indices), height, width, C).

        C is 3 for RGB, 2 for optical flow (x, y).
        """
        ...


@runtime_checkable
class TimedReader(Protocol):
    """A reader that may know when each frame is shown. The frames of any other reader are ``1 / fps`` apart."""

    @property
    def times(self) -> NDArray[np.float64] | None:
        """Seconds, float64 (num_frames,), ascending; None if they are unknown."""
        ...


@runtime_checkable
class SequentialReader(Protocol):
    """A reader that yields frames as they are decoded, so that each is resized before the next is decoded."""

    def iter_frames(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames with these indices (ascending, distinct), all of one size."""
        ...


class Source(ABC):
    """The samples of one split. A custom dataset returns one from ``vexp.data.sources.config.Data.source``.

    A class that has the members without a default need not inherit from ``Source``; see ``complete_source``.
    """

    labels: Any  # class index of sample i at ``labels[i]``: an integer array (n,), or ``PackedLabels``
    classes: list[str]  # names of the classes
    multi_label: bool = False  # a sample may have several labels; ``labels[i]`` is then an array of class indices
    groups: Sequence[str] | None = None  # of each sample ("": none); samples of one group stay in the same split
    parts: NDArray[np.int32] | None = None  # number of the list that each sample is from; None: all of one list
    origin: str = ""  # where the samples are listed, for the log
    backend: str = ""  # name of the decoding backend, for ``bad_samples.jsonl``

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the name of a sample, for reports and messages."""

    @abstractmethod
    def open(self, index: int) -> AbstractContextManager[Reader]:
        """Open the video of a sample; called in the worker process that loads it."""

    def fingerprint(self, index: int) -> str:
        """Return a text that differs for samples of different content; features are cached under it."""
        return self.name(index)

    def take(self, rows: NDArray[np.int64]) -> Source:
        """Return the samples with the indices ``rows``, in that order."""
        return Subset(self, rows)


def complete_source(source: Any) -> Source:
    """Return ``source`` with the defaults of ``Source`` for the members that its class does not define."""
    return source if isinstance(source, Source) else _CompletedSource(source)


class _CompletedSource(Source):
    """A source whose class does not inherit from ``Source``."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.labels, self.classes = source.labels, source.classes
        for name in ("multi_label", "groups", "parts", "origin", "backend"):
            setattr(self, name, getattr(source, name, getattr(Source, name)))

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        return str(self.source.name(index))

    def fingerprint(self, index: int) -> str:
        return str(getattr(self.source, "fingerprint", self.name)(index))

    def open(self, index: int) -> AbstractContextManager[Reader]:
        opened: AbstractContextManager[Reader] = self.source.open(index)
        return opened

    def take(self, rows: NDArray[np.int64]) -> Source:
        return complete_source(self.source.take(rows)) if hasattr(self.source, "take") else Subset(self, rows)


class Subset(Source):
    """The samples ``rows``, int64 (n,), of a source, in that order."""

    def __init__(self, source: Source, rows: NDArray[np.int64]) -> None:
        self.source, self.rows = source, rows
        self.classes, self.multi_label = source.classes, source.multi_label
        self.origin, self.backend = source.origin, source.backend
        self.labels, self.groups = take(source.labels, rows), take(source.groups, rows)
        self.parts = take(source.parts, rows)

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        return self.source.name(int(self.rows[index]))

    def fingerprint(self, index: int) -> str:
        return self.source.fingerprint(int(self.rows[index]))

    def open(self, index: int) -> AbstractContextManager[Reader]:
        return self.source.open(int(self.rows[index]))


class ListedSource(Source):
    """Base class of sources whose samples are listed in an annotation."""

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        self.labels, self.multi_label = annotation.labels_packed, annotation.multi_label
        self.classes, self.groups, self.parts = annotation.classes, annotation.groups, annotation.parts
        self.origin = annotation.origin

    def __len__(self) -> int:
        return len(self.annotation)

    def name(self, index: int) -> str:
        return self.annotation.name(index)

    def fingerprint(self, index: int) -> str:
        """Return path, size and time of the video, its segment and its range of frames."""
        rows, path = self.annotation, self.annotation.path(index)
        path = path if is_stored(path) else os.path.abspath(path)
        return repr([path, *(identity(path) or []), rows.segment(index), rows.frames(index)])

    def take(self, rows: NDArray[np.int64]) -> Self:
        taken = copy.copy(self)
        ListedSource.__init__(taken, self.annotation.take(rows))
        return taken


class VideoSource(ListedSource):
    """Video files listed in an annotation, segments of them, or images, which are videos of one frame."""

    def __init__(self, annotation: Annotation, *, backend: str = "auto", strict: bool = False) -> None:
        """Create the source; ``backend`` and ``strict`` are those of ``vexp.data.decoding.open_video``."""
        ListedSource.__init__(self, annotation)
        self.backend, self.strict = backend, strict
        self.proxies: Proxies | None = None  # read in place of the videos that have one

    def videos(self) -> list[str]:
        """Return the paths of the video files, each once."""
        paths = dict.fromkeys(self.annotation.path(index) for index in range(len(self)))
        return [path for path in paths if not is_image(path)]

    def open(self, index: int) -> AbstractContextManager[Reader]:
        path = self.annotation.path(index)
        if is_image(path):
            return open_image(path)
        return open_segment(path, self._open_video(path), self.annotation.segment(index))

    def _open_video(self, path: str) -> AbstractContextManager[Reader]:
        # These import a decoder: only in the process that decodes.
        if self.proxies is not None and (proxy := self.proxies.find(path)) is not None:
            from vexp.data.decoding.proxy_reader import ProxyReader

            return ProxyReader(proxy)
        from vexp.data.decoding import open_video

        return open_video(path, self.backend, strict=self.strict)


def open_image(path: str) -> AbstractContextManager[Reader]:
    """Open an image as a video of one frame."""
    from vexp.data.decoding.frame_folder import RawFrameReader  # imports a decoder: only in the process that decodes

    folder, name = os.path.split(path)
    return RawFrameReader(folder, name.replace("{", "{{").replace("}", "}}"), total=1)


class ArrayReader:
    """A reader of frames in memory: uint8 (T, H, W, 3) RGB, or (T, H, W, 2) optical flow."""

    def __init__(self, frames: NDArray[np.uint8], fps: float | None = None) -> None:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] not in (2, 3):
            raise UserError(f"frames must be uint8 (T, H, W, 3 or 2), got {frames.dtype} {frames.shape}")
        self._frames = frames
        self.fps = fps
        self.num_frames, self.height, self.width, _ = frames.shape

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the frames with these indices, as ``Reader.frames``."""
        selected: NDArray[np.uint8] = self._frames[np.asarray(indices)]
        return selected

    def __enter__(self) -> ArrayReader:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def frame_times(reader: Reader) -> NDArray[np.float64]:
    """Return the time in seconds at which each frame is shown: float64 (num_frames,), ascending.

    Raises:
        UserError: If neither the times nor the frame rate are known.
    """
    if isinstance(reader, TimedReader) and reader.times is not None:
        return reader.times
    if not reader.fps:
        raise UserError(
            "the frame rate is unknown, so the video cannot be sampled by time; set it (data.fps of raw frames), or "
            "set target_fps and clip_seconds to null"
        )
    return np.arange(reader.num_frames) / reader.fps


def read_frames(reader: Reader, indices: NDArray[np.int64]) -> FrameStream | NDArray[np.uint8]:
    """Read the frames with these indices (n,), ascending and distinct: (n, H, W, C), as a stream if possible."""
    if isinstance(reader, SequentialReader):
        return FrameStream.of(reader.iter_frames(indices.tolist()), len(indices))
    return reader.frames(indices)


@contextmanager
def open_segment(
    path: str, video: AbstractContextManager[Any], segment: tuple[float, float] | None
) -> Iterator[Reader]:
    """Open a video, restricted to ``segment``, (start, end) in seconds; None: the whole video."""
    with video as reader:
        yield reader if segment is None else SegmentReader(path, reader, *segment)


class SegmentReader:
    """Reader of the part of a video between ``start`` (inclusive) and ``end`` (exclusive), in seconds.

    The times of the frames are those of the file; if it has none, the frames are evenly spaced by its average rate.
    """

    def __init__(self, path: str, reader: Reader, start: float, end: float) -> None:
        self.fps = reader.fps
        timed = isinstance(reader, TimedReader) and reader.times is not None
        if not timed and not self.fps:
            raise UserError(
                f"{path}: the file has no frame rate, so its segment {start:g}..{end:g} s cannot be located"
            )
        times = frame_times(reader)
        tolerance = 1e-6  # a boundary equal to the time of a frame is not moved by rounding
        first, stop = (int(index) for index in np.searchsorted(times, [start - tolerance, end - tolerance]))
        if stop <= first:
            raise UserError(
                f"{path}: no frame lies in its segment {start:g}..{end:g} s, the last frame is at {times[-1]:.2f} s"
            )
        self._reader, self._first = reader, first
        self.num_frames = stop - first
        self.times: NDArray[np.float64] = times[first:stop] - times[first]

    @property
    def width(self) -> int:
        return self._reader.width

    @property
    def height(self) -> int:
        return self._reader.height

    def frames(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the frames with these indices in the segment, as ``Reader.frames``."""
        return self._reader.frames(self._in_video(indices))

    def iter_frames(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames with these indices (ascending, distinct)."""
        return iter(read_frames(self._reader, self._in_video(numbers)))

    def _in_video(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert indices in the segment to indices in the video."""
        array = np.asarray(indices, np.int64)
        if array.size and not 0 <= array.min() <= array.max() < self.num_frames:
            raise UserError(f"frame indices {array.min()}..{array.max()} are outside 0..{self.num_frames - 1}")
        return array + self._first
