"""Base class of the video backends other than PyAV.

The PyAV reader determines the frames of a file, their times and rotation (``vexp.data.decoding.video_info``). This
reads the packets, decodes the first frame and, if frames have to be counted, the whole file once per process. A backend
must return exactly these frames. Files that a backend is known to read incorrectly are rejected.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.decoding.frame_stream import FrameReader
from vexp.data.decoding.pyav import VideoReader
from vexp.data.pixel_type import Frame
from vexp.data.storage import StoredFile


class ThirdPartyReader(FrameReader):
    """Base class of the backends, with the interface of ``VideoReader``: num_frames, fps, times, width, height, frames.

    A subclass implements ``_unsupported_reason``, ``_open``, ``_deliver`` and ``close``.
    """

    backend: ClassVar[str]

    path: Path | StoredFile

    def __init__(self, path: str | Path | StoredFile) -> None:
        super().__init__(path)
        with VideoReader(self.path) as reader:
            self._num_frames, self._size, self.file = reader.num_frames, (reader.height, reader.width), reader.file
        self.fps = self.file.fps
        sizes = {(width, height) for width, height, _ in self.file.coded}
        reason = self._unsupported_reason() or ("scales frames whose size changes" if len(sizes) > 1 else "")
        if reason:
            raise UserError(f"{self.path}: {self.backend} {reason}. Set data.decoding_backend=av for this dataset.")
        try:
            self._open()
        except UserError:
            raise
        except Exception as error:  # bindings raise exceptions of any type
            raise UserError(f"{self.path}: cannot be opened by {self.backend}: {_short(error)}") from error

    @property
    def address(self) -> str:
        """What the backend opens: the absolute path of the file, or the address of a part of one."""
        return self.path.ffmpeg_url if isinstance(self.path, StoredFile) else str(self.path.absolute())

    @property
    def times(self) -> NDArray[np.float64] | None:
        """Time of each frame in seconds from the first, float64 (num_frames,); None if unknown."""
        return self.file.times

    def iter_frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames at ascending, distinct indices, each uint8 (H, W, 3)."""
        self.check_range(indices)
        size, done = (*self._size, self.channels), 0
        try:
            for frame in self._deliver(list(indices)):
                if frame.shape != size:
                    raise self.failure(indices[done], f"its shape is {frame.shape} instead of {size}")
                yield frame
                done += 1
        except UserError:
            raise
        except Exception as error:  # bindings raise exceptions of any type
            raise self.failure(indices[done], _short(error)) from error
        if done < len(indices):
            raise self.failure(indices[done], "the backend does not return it")

    def failure(self, number: int, reason: str) -> UserError:
        """Return the error for a frame that is missing or invalid."""
        return UserError(
            f"{self.path}: frame {number} cannot be decoded ({self.backend}): {reason}. Try data.decoding_backend=av "
            "for more details, or download the file again."
        )

    def _frame_size(self) -> tuple[int, int]:
        return self._size

    def _check_count(self, count: int) -> None:
        if count != self.num_frames:
            raise ValueError(f"it finds {count} frames instead of {self.num_frames}")

    def _check_time(self, number: int, time: float, start: int = 0) -> None:
        """Check that a frame was returned with its presentation time, in seconds, counted from ``start``, in ticks."""
        if self.file.index is None:
            return
        expected = float((int(self.file.index.pts[number]) - start) * self.file.time_base)
        if abs(time - expected) > float(self.file.time_base) / 2 + 1e-9 * abs(expected):
            raise self.failure(number, f"the decoder returned the frame at {time:.3f} s instead of {expected:.3f} s")

    @abstractmethod
    def _unsupported_reason(self) -> str:
        """Return why the backend cannot read such a file correctly, as the end of a sentence; "" if it can."""

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _deliver(self, indices: list[int]) -> Iterator[Frame]:
        """Yield the frames at ascending, distinct indices, each uint8 (H, W, 3) RGB after rotation."""


def _short(error: Exception) -> str:
    """Return the last line of an error message that is not part of a C++ stack trace."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("[bt]", "Stack trace"))]
    return (lines[-1] if lines else type(error).__name__)[:300]
