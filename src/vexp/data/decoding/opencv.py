"""The OpenCV backend.

It decodes from the first frame on and skips the color conversion of other frames. Its own seek uses the average frame
rate and returns adjacent frames if the frame rate varies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import cv2

from vexp.data.decoding.color import apply_display_matrix
from vexp.data.decoding.container import ffmpeg_url
from vexp.data.decoding.third_party import ThirdPartyReader
from vexp.data.pixel_type import Frame


class OpencvReader(ThirdPartyReader):
    """Identifies frames by their presentation times, or by counting if the times are not reliable."""

    backend = "opencv"

    def _unsupported_reason(self) -> str:
        if self.file.stream != self.file.video_streams[0]:
            return "reads the first stream, which is cover art"
        # The conversion of its FFmpeg 8 fails for them, and it returns what its buffer held before.
        if any(is_interlaced for *_, is_interlaced in self.file.coded):
            return "does not convert interlaced frames"
        return ""

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(ffmpeg_url(self.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise ValueError("no decoder for this file")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # OpenCV would rotate, but not mirror
        self._next = 0  # index of the frame of the next grab

    def _deliver(self, indices: list[int]) -> Iterator[Frame]:
        if indices[0] < self._next:
            self._capture.release()
            self._open()
        for number in indices:
            while self._next <= number:
                if not self._capture.grab():
                    raise self.failure(number, "the decoder stops before this frame")
                self._next += 1
            # OpenCV silently drops damaged frames, which shifts later ones; its times count from the stream's start.
            self._check_time(number, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, self.file.start)
            valid, image = self._capture.retrieve()
            if not valid:
                raise self.failure(number, "the color conversion failed")
            yield apply_display_matrix(cast("Frame", image)[..., ::-1], self.file.display_matrix)

    def close(self) -> None:
        self._capture.release()
