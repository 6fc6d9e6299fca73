"""OpenCV's video reader, as a backend.

It is made to decode from the first frame on, without converting what is not wanted: its own seek goes by the average
frame rate, and lands on a neighbour where frames are not evenly apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from vexp.data.decoding.color import apply_display_matrix
from vexp.data.decoding.third_party import ThirdPartyReader
from vexp.data.decoding.video_info import VideoInfo


class OpencvReader(ThirdPartyReader):
    """Each frame is recognised by its presentation time; by its place since the first where times cannot be trusted."""

    backend = "opencv"

    def _unsupported_reason(self, file: VideoInfo) -> str:
        if file.stream != file.video_streams[0]:
            return "takes the first stream, and that is cover art"
        return ""

    def _open(self) -> None:
        self._capture = self._opened()
        self._next = 0  # number of the frame that the next grab gives

    def _opened(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(f"file:{self.path}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            raise ValueError("it has no decoder for this file")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # it would turn, but not mirror
        return capture

    def _deliver(self, numbers: list[int]) -> Iterator[NDArray[np.uint8]]:
        if numbers[0] < self._next:
            self._capture.release()
            self._open()
        for number in numbers:
            while self._next <= number:
                if not self._capture.grab():
                    raise self.failure(number, "the decoder stops before it")
                self._next += 1
            self._check_time(number)
            sound, picture = self._capture.retrieve()
            if not sound:
                raise self.failure(number, "it cannot be converted")
            yield apply_display_matrix(cast("NDArray[np.uint8]", picture)[..., ::-1], self.file.display_matrix)

    def _check_time(self, number: int) -> None:
        """A damaged frame is left out without a word, and every later one would be taken for its neighbour."""
        index = self.file.index
        if index is None:
            return
        found = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # from the stream's start
        wanted = float((int(index.pts[number]) - self.file.start) * self.file.time_base)
        if abs(found - wanted) > float(self.file.time_base) / 2 + 1e-9 * abs(wanted):
            raise self.failure(number, f"the frame of {found:.3f} s comes in its place, which is at {wanted:.3f} s")

    def close(self) -> None:
        self._capture.release()
