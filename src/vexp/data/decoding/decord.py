"""The decord backend (no release since 2021, wheels for x86 only).

Its seek counts frames from a key frame, so it is used only if every GOP is closed and every key frame is a random
access point. Otherwise decord decodes from the first frame on. Files that version 0.6.0 reads incorrectly are rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import decord

from vexp.data.decoding.color import is_rotated
from vexp.data.decoding.third_party import ThirdPartyReader
from vexp.data.pixel_type import Frame

COUNTED_FORMATS = ("mov", "matroska", "avi")
"""Containers in which decord counts frames correctly; in a transport stream it does not."""


class DecordReader(ThirdPartyReader):
    """Reads frames by their index, as counted by decord."""

    backend = "decord"

    def _unsupported_reason(self) -> str:
        file = self.file
        if len(file.video_streams) > 1:
            return "cannot select one of several video streams"
        if is_rotated(file.display_matrix):
            return "corrupts rotated or mirrored frames"
        if file.index is not None and file.index.hides_frames:
            return "returns the frames that the edit list of the file hides"
        if file.demuxer not in COUNTED_FORMATS:
            return f"counts the frames of this container ({file.demuxer}) incorrectly"
        return ""

    def _open(self) -> None:
        decord.logging.set_level(decord.logging.QUIET)
        # decord replaces frames it cannot decode by others; fault_tol is the tolerated fraction.
        self._reader: Any = decord.VideoReader(self.address, ctx=decord.cpu(0), num_threads=1, fault_tol=1e-9)
        self._check_count(len(self._reader))
        self._next = 0  # index of the next frame of a sequential decode
        index = self.file.index
        self._seeks = index is not None and index.keys_restart and not index.has_leading

    def _deliver(self, indices: list[int]) -> Iterator[Frame]:
        if self._seeks:
            yield from self._batch(indices)
            return
        if indices[0] < self._next:
            self._open()
        for number in indices:
            while self._next <= number:
                frame = self._reader.next()
                self._next += 1
            yield frame.asnumpy()

    def _batch(self, indices: list[int]) -> Iterator[Frame]:
        try:
            yield from self._reader.get_batch(indices).asnumpy()
        except decord.DECORDError:
            if len(indices) == 1:
                raise
            for number in indices:  # find the damaged frame; after an error the reader must be reopened
                self._open()
                yield from self._batch([number])

    def close(self) -> None:
        self._reader = None
