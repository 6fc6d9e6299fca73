"""torchcodec's video decoder, as a backend. It needs FFmpeg's libraries, which its wheel does not bring.

It seeks by presentation time, so files whose times cannot be trusted are refused, and those in which decoding from a
key frame needs more than the key frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.decoding.third_party import ThirdPartyReader

if TYPE_CHECKING:
    from vexp.data.decoding.video_info import VideoInfo


class TorchcodecReader(ThirdPartyReader):
    """Every frame comes with its presentation time, and is recognised by it."""

    backend = "torchcodec"

    def _unsupported_reason(self, file: VideoInfo) -> str:
        if file.index is None:
            return "seeks by presentation time, and those of this file cannot be trusted"
        if not file.index.keys_restart:
            return "takes every marked key frame for a fresh start, and in this file not every one is"
        if file.index.has_leading and file.index.hides_frames:
            return "mixes up frames where an edit list cuts into an open GOP"
        a, b, c, d = file.display_matrix or (1, 0, 0, 1)
        if a * d - b * c < 0:
            return "turns frames, but does not mirror them"
        return ""

    def _open(self) -> None:
        from torchcodec.decoders import VideoDecoder

        try:
            self._decoder = VideoDecoder(
                str(self.path.absolute()), stream_index=self.file.stream, dimension_order="NHWC", num_ffmpeg_threads=1
            )
        except (RuntimeError, OSError) as error:
            if "libtorchcodec" not in str(error):
                raise
            raise UserError(
                "data.decoding_backend=torchcodec: it finds no FFmpeg libraries, or does not fit this version of "
                "torch: apt-get install ffmpeg (or conda install ffmpeg), or set data.decoding_backend=av"
            ) from error
        if len(self._decoder) != self.num_frames:
            raise ValueError(f"it finds {len(self._decoder)} frames, a plain decode {self.num_frames}")

    def _deliver(self, numbers: list[int]) -> Iterator[NDArray[np.uint8]]:
        index, tick = self.file.index, float(self.file.time_base)
        assert index is not None
        try:
            batch = self._decoder.get_frames_at(numbers)
        except (RuntimeError, IndexError):
            if len(numbers) == 1:
                raise
            for number in numbers:  # which of them it is
                yield from self._deliver([number])
            return
        for number, frame, found in zip(numbers, batch.data, batch.pts_seconds.tolist(), strict=True):
            wanted = int(index.pts[number]) * tick
            if abs(found - wanted) > tick / 2 + 1e-9 * abs(wanted):
                raise self.failure(number, f"the frame of {found:.3f} s comes in its place, which is at {wanted:.3f} s")
            yield frame.numpy()

    def close(self) -> None:
        del self._decoder
