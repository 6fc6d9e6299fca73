"""The OpenCV backend.

It decodes from the first frame on and skips the color conversion of other frames. Its own seek uses the average frame
rate and returns adjacent frames if the frame rate varies.
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
    """Identifies frames by their presentation times, or by counting if the times are not reliable."""

    backend = "opencv"

    def _unsupported_reason(self, file: VideoInfo) -> str:
        if file.stream != file.video_streams[0]:
            return "reads the first stream, which is cover art"
        return ""

    def _open(self) -> None:
        self._capture = self._opened()
        self._next = 0  # index of the frame of the next grab

    def _opened(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(f"file:{self.path}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            raise ValueError("no decoder for this file")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # OpenCV would rotate, but not mirror
        return capture

    def _deliver(self, indices: list[int]) -> Iterator[NDArray[np.uint8]]:
        if indices[0] < self._next:
            self._capture.release()
            self._open()
        for number in indices:
            while self._next <= number:
                if not self._capture.grab():
                    raise self.failure(number, "the decoder stops before this frame")
                self._next += 1
            self._check_time(number)
            valid, image = self._capture.retrieve()
            if not valid:
                raise self.failure(number, "the color conversion failed")
            yield apply_display_matrix(cast("NDArray[np.uint8]", image)[..., ::-1], self.file.display_matrix)

    def _check_time(self, number: int) -> None:
        """Check the presentation time, since OpenCV silently drops damaged frames, which shifts all later ones."""
        index = self.file.index
        if index is None:
            return
        time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # relative to the start of the stream
        expected = float((int(index.pts[number]) - self.file.start) * self.file.time_base)
        if abs(time - expected) > float(self.file.time_base) / 2 + 1e-9 * abs(expected):
            raise self.failure(number, f"the decoder returned the frame at {time:.3f} s instead of {expected:.3f} s")

    def close(self) -> None:
        self._capture.release()
