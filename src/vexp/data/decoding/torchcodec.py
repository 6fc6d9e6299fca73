"""The torchcodec backend. It needs the FFmpeg libraries, which its wheel does not contain.

It seeks by presentation time, so files without reliable times are rejected, and those in which key frames are not
random access points.
"""

from __future__ import annotations

from collections.abc import Iterator

from vexp.core.errors import UserError
from vexp.data.decoding.third_party import ThirdPartyReader
from vexp.data.pixel_type import Frame


class TorchcodecReader(ThirdPartyReader):
    """Identifies frames by their presentation times."""

    backend = "torchcodec"
    device = "cpu"

    def _unsupported_reason(self) -> str:
        index = self.file.index
        if index is None:
            return "seeks by presentation time, and those of this file are not reliable"
        if not index.keys_restart:
            return "requires that every key frame is a random access point, which this file does not satisfy"
        if index.has_leading and index.hides_frames:
            return "confuses frames if an edit list starts within an open GOP"
        a, b, c, d = self.file.display_matrix
        return "does not mirror frames" if a * d - b * c < 0 else ""

    def _open(self) -> None:
        from torchcodec.decoders import VideoDecoder

        try:
            self._decoder = VideoDecoder(
                self.address, stream_index=self.file.stream, dimension_order="NHWC", num_ffmpeg_threads=1,
                device=self.device,
            )  # fmt: skip
        except (RuntimeError, OSError) as error:
            if "libtorchcodec" not in str(error):
                raise
            raise UserError(
                f"data.decoding_backend={self.backend}: the FFmpeg libraries are missing, or the version of torch is "
                "not supported: apt-get install ffmpeg (or conda install ffmpeg), or set data.decoding_backend=av"
            ) from error
        self._check_count(len(self._decoder))

    def _deliver(self, indices: list[int]) -> Iterator[Frame]:
        try:
            batch = self._decoder.get_frames_at(indices)
        except (RuntimeError, IndexError):
            if len(indices) == 1:
                raise
            for number in indices:  # find the damaged frame
                yield from self._deliver([number])
            return
        for number, frame, time in zip(indices, batch.data.cpu(), batch.pts_seconds.tolist(), strict=True):
            self._check_time(number, time)
            yield frame.numpy()

    def close(self) -> None:
        del self._decoder
