"""decord's video reader, as a backend. (No release since 2021; wheels for x86 only.)

Its seek counts frames from a key frame, so it is used only where that is sound: every GOP closed, every key frame a
fresh start. Elsewhere decord decodes from the first frame on. What was found wrong with its 0.6.0 is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import decord
import numpy as np
from numpy.typing import NDArray

from vexp.data.decoding.color import is_rotated
from vexp.data.decoding.third_party import ThirdPartyReader

if TYPE_CHECKING:
    from vexp.data.decoding.video_info import VideoInfo

COUNTED_FORMATS = ("mov", "matroska", "avi")
"""Containers in which decord's frame n of a decode from the start is frame n; in a transport stream it is not."""


class DecordReader(ThirdPartyReader):
    """Frames are recognised by their number, which decord counts."""

    backend = "decord"

    def _unsupported_reason(self, file: VideoInfo) -> str:
        if len(file.video_streams) > 1:
            return "cannot be told which of several video streams to read"
        if is_rotated(file.display_matrix):
            return "garbles frames that are stored turned or mirrored"
        if file.index is not None and file.index.hides_frames:
            return "shows the frames that the file's edit list hides"
        if file.demuxer not in COUNTED_FORMATS:
            return f"counts the frames of this container ({file.demuxer}) wrong"
        return ""

    def _open(self) -> None:
        decord.logging.set_level(decord.logging.QUIET)
        # A frame that it cannot decode it replaces by another; a share of none of these is tolerated.
        self._reader: Any = decord.VideoReader(
            str(self.path.absolute()), ctx=decord.cpu(0), num_threads=1, fault_tol=1e-9
        )
        if len(self._reader) != self.num_frames:
            raise ValueError(f"it finds {len(self._reader)} frames, a plain decode {self.num_frames}")
        self._next = 0  # number of the frame that a decode straight on gives next
        index = self.file.index
        self._seeks = index is not None and index.keys_restart and not index.has_leading

    def _deliver(self, numbers: list[int]) -> Iterator[NDArray[np.uint8]]:
        if self._seeks:
            yield from self._batch(numbers)
            return
        if numbers[0] < self._next:
            self._open()
        for number in numbers:
            while self._next <= number:
                frame = self._reader.next()
                self._next += 1
            yield frame.asnumpy()

    def _batch(self, numbers: list[int]) -> Iterator[NDArray[np.uint8]]:
        try:
            frames = self._reader.get_batch(numbers).asnumpy()
        except decord.DECORDError:
            if len(numbers) == 1:
                raise
            for number in numbers:  # which of them it is; after an error a reader delivers nothing any more
                self._open()
                yield from self._batch([number])
        else:
            yield from frames

    def close(self) -> None:
        self._reader = None
