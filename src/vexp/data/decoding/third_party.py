"""Video backends other than PyAV: what all of them share.

Which frames a file holds, when they are shown and how they are turned is settled by one authority, the PyAV reader
(``vexp.data.decoding.video_info``): it costs the reading of the packets, the decoding of the first frame and, where frames can
only be had by counting, of the whole file, once in each process. A backend then has to deliver exactly those frames.
What it is known to get wrong, it is not asked: such a file is refused by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.decoding.frame_stream import Frame, check_range, frames_in_order
from vexp.data.decoding.pyav import VideoReader
from vexp.data.decoding.video_info import VideoInfo


class ThirdPartyReader(ABC):
    """Base of the backends. The same door as ``VideoReader``: ``num_frames, fps, times, width, height, frames``.

    A backend says what it cannot read right (``_unsupported_reason``), opens the file (``_open``), and delivers (``_deliver``).
    """

    backend: ClassVar[str]
    channels = 3

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with VideoReader(self.path) as reader:
            self.num_frames = reader.num_frames
            self.height, self.width = reader.height, reader.width
            self.file: VideoInfo = reader.file
        self.fps = self.file.fps
        reason = self._unsupported_reason(self.file)
        if reason:
            raise UserError(f"{self.path}: {self.backend} {reason}. Set data.decoding_backend=av for this data set.")
        try:
            self._open()
        except UserError:
            raise
        except Exception as error:  # whatever a third party's binding throws
            raise UserError(f"{self.path}: cannot be opened by {self.backend}: {_short(error)}") from error

    def __enter__(self) -> ThirdPartyReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def times(self) -> NDArray[np.float64] | None:
        """Seconds at which each frame is shown, from the first: float64 (num_frames,); None: the file does not say."""
        return self.file.times

    def frames(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """The frames of these numbers, in this order: uint8 (len(indices), height, width, 3) RGB.

        Raises `UserError` for a number outside 0..num_frames-1 and for a frame that the backend does not deliver.
        """
        return frames_in_order(self, indices)

    def iter_frames(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """The same for ascending, distinct ``numbers``, one after the other: uint8 (height, width, 3) each."""
        check_range(self.path, numbers, self.num_frames)
        size, done = (self.height, self.width, self.channels), 0
        try:
            for picture in self._deliver(list(numbers)):
                if picture.shape != size:
                    raise self.failure(numbers[done], f"it has the shape {picture.shape}, not {size}")
                yield picture
                done += 1
        except UserError:
            raise
        except Exception as error:  # whatever a third party's binding throws
            raise self.failure(numbers[done], _short(error)) from error
        if done < len(numbers):
            raise self.failure(numbers[done], "it is not delivered")

    def failure(self, number: int, reason: str) -> UserError:
        """The error for a frame that is not delivered, or not as it should be."""
        return UserError(
            f"{self.path}: frame {number} cannot be decoded ({self.backend}): {reason}. Try data.decoding_backend=av, "
            "which says more; or fetch the file again."
        )

    @abstractmethod
    def _unsupported_reason(self, file: VideoInfo) -> str:
        """Why the backend's frames of such a file would not be the right ones; "" where they are."""

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _deliver(self, numbers: list[int]) -> Iterator[NDArray[np.uint8]]:
        """The frames of ``numbers`` (ascending, distinct), each uint8 (height, width, 3) RGB upright."""

    @abstractmethod
    def close(self) -> None: ...


def _short(error: Exception) -> str:
    """The gist of a binding's error: its last line that is no part of a C++ stack trace."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("[bt]", "Stack trace"))]
    return (lines[-1] if lines else type(error).__name__)[:300]
