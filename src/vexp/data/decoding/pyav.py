"""The PyAV reader: random access to the frames of a video file. It is the reference for all other backends.

Importing this module imports PyAV with the FFmpeg libraries.

Frame n is the n-th frame, counted from 0, of a sequential decode of the whole, undamaged stream. No other frame is ever
returned in its place; a frame that cannot be decoded raises UserError.

The stream is the first video stream that is not an attached picture (cover art), as OpenCV and `ffprobe -select_streams
v:0` take it. FFmpeg's "best stream", which decord and torchcodec take, weighs bit rates and what was decoded while
probing, so it may change with FFmpeg's version; the first one is a property of the file.

For color and rotation, see ``vexp.data.decoding.color``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.data.decoding import container
from vexp.data.decoding.color import RgbConverter, apply_display_matrix, display_matrix, is_oblique
from vexp.data.decoding.frame_stream import FrameReader
from vexp.data.decoding.index_file import load_index
from vexp.data.decoding.packet_index import PacketIndex
from vexp.data.decoding.video_info import VIDEO_INFO_CACHE
from vexp.data.pixel_type import Frame
from vexp.data.storage import StoredFile

if TYPE_CHECKING:
    from av import VideoFrame

logger = logging.getLogger(__name__)


class VideoReader(FrameReader):
    """Reader of one video file. Open it in the process that decodes, not before a fork, and close it after use.

    >>> with VideoReader("clip.mp4") as reader:  # doctest: +SKIP
    ...     frames = reader.frames([0, 4, 8])  # uint8 (3, H, W, 3) RGB

    Opening reads all packets of the file without decoding, unless it is cached in this process or an index file exists.
    MP4, MOV, Matroska and WebM files with reliable times are then read by seeking. Other files are decoded from their
    first frame, and once more to determine ``num_frames``. Decoding is single-threaded, since the data loader's workers
    provide the parallelism.

    Raises:
        UserError: If the file is missing, empty, truncated or not a video.
    """

    path: Path | StoredFile

    def __init__(self, path: str | Path | StoredFile, *, strict: bool = False) -> None:
        """Open a file; ``strict`` enables the codec's error detection, which finds and rejects more damage."""
        super().__init__(path)
        self.strict = strict
        self.decoded = 0
        """Number of frames decoded so far, to measure the cost of random access."""
        self.decode_error = ""
        """Why the decoder rejected a packet, whose frames are then missing from a count; empty if it did not."""
        self._to_rgb = RgbConverter()
        self._fault = ""  # why the last run ended early
        status = container.file_status(self.path)
        if isinstance(self.path, StoredFile):
            self._identity = (f"{self.path}: {self.path.version}", 0, self.path.size, strict)
            known = VIDEO_INFO_CACHE.get(self._identity)
        else:
            self._identity = (str(self.path.absolute()), status.st_mtime_ns, status.st_size, strict)
            known = VIDEO_INFO_CACHE.get(self._identity) or load_index(self.path, status)
        self._open(probe=strict or (known is not None and known.is_probed))
        try:
            self.file = known or container.describe(self._container, self._stream)
            self.file.is_probed = self._is_probed
        except container.READ_ERRORS as error:
            self.close()
            raise container.unreadable(self.path, error) from error
        self._index = self.file.index
        VIDEO_INFO_CACHE.put(self._identity, self.file)

    def _open(self, *, probe: bool) -> None:
        opened = None if probe else container.open_without_probe(self.path)
        self._is_probed = opened is None
        self._container, self._stream = opened or container.open_stream(self.path, self.strict)

    def close(self) -> None:
        self._container.close()

    @property
    def num_frames(self) -> int:
        """Exact number of frames, not that of the header; may decode the whole file once."""
        if self.file.num_frames is None:
            with self._lock:
                self._keep_count([_time(frame) for frame, _ in self._from_the_start()])
        assert self.file.num_frames is not None
        return self.file.num_frames

    @property
    def fps(self) -> float | None:
        """Average frame rate of the container in frames per second; None if unknown."""
        return self.file.fps

    @property
    def codec(self) -> str:
        """Name of the decoder: "h264", "vp9", "mpeg4" ..."""
        return self._stream.codec_context.name

    @property
    def times(self) -> NDArray[np.float64] | None:
        """Time of each frame in seconds from the first, float64 (num_frames,); None if unknown."""
        return self.file.times if self.num_frames else None

    def iter_frames(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames at ascending, distinct indices as they are decoded, each uint8 (H, W, 3)."""
        size = None
        for frame_index, frame in zip(indices, self.codec_frames(indices), strict=True):
            image = self._to_image(frame_index, frame)
            size = size or image.shape
            if image.shape != size:
                sizes = f"{image.shape[1]}x{image.shape[0]}, not {size[1]}x{size[0]}"
                hint = f"Convert the file to one size: ffmpeg -i INPUT -vf scale={size[1]}:{size[0]} -crf 18 OUTPUT.mp4"
                raise self._undecodable(frame_index, f"its size differs from the frames before it: {sizes}", hint)
            yield image

    def codec_frames(self, indices: Sequence[int]) -> Iterator[VideoFrame]:
        """Yield the frames at ascending, distinct indices as decoded, without color conversion and rotation."""
        if self.file.num_frames is not None:  # otherwise the count is not known yet
            self.check_range(indices)
        yield from self._by_counting(indices) if self._index is None else self._by_seeking(self._index, indices)

    def iter_valid_frames(self) -> Iterator[VideoFrame]:
        """Yield every frame in order, without color conversion and rotation, decoding the file once.

        Raises:
            UserError: At the first damaged frame, or at the end if frames are missing.
        """
        times: list[float] = []
        for frame, fault in self._from_the_start():
            if fault:
                raise self._undecodable(len(times), fault)
            yield frame
            times.append(_time(frame))
        if self._index is None:
            self._keep_count(times)
        elif len(times) != self.num_frames:
            raise UserError(
                f"{self.path}: only {len(times)} of {self.num_frames} frames can be decoded. {container.HINT_REENCODE}"
            )

    def iter_valid_rgb_frames(self) -> Iterator[Frame]:
        """Yield every frame in order as uint8 (H, W, 3) RGB; raises as ``iter_valid_frames``."""
        for frame_index, frame in enumerate(self.iter_valid_frames()):
            yield self._to_image(frame_index, frame)

    def _to_image(self, frame_index: int, frame: VideoFrame) -> Frame:
        if self.file.size is None:
            self._measure(frame)
        try:
            return apply_display_matrix(self._to_rgb(frame), self.file.display_matrix)
        except av.FFmpegError as error:
            color = f"{frame.format.name} with color matrix {int(frame.colorspace)} (ITU-T H.273)"
            reason = f"{color} cannot be converted to RGB: {container.reason_of(error)}"
            raise self._undecodable(frame_index, reason, container.HINT_MATRIX) from error

    def _by_seeking(self, index: PacketIndex, indices: Sequence[int]) -> Iterator[VideoFrame]:
        """Yield the frames at ascending indices, identified by their presentation times."""
        done = 0
        for end in index.run_ends(indices):
            while done < end:
                key, before = index.key_number(indices[done]), done
                # Its own key frame first; one GOP earlier, or the start, for one from which it was not delivered.
                for start in dict.fromkeys((key, max(key - 1, 0), 0)):
                    for frame in self._run(index, start, indices[done:end]):
                        yield frame
                        done += 1
                    if done > before:
                        break
                else:
                    if self._is_probed:
                        raise self._undecodable(indices[done], self._fault)
                    self.close()
                    self._open(probe=True)  # in case that a probe would have found a longer delay of the decoder

    def _run(self, index: PacketIndex, start: int, indices: Sequence[int]) -> Iterator[VideoFrame]:
        """Yield frames decoded sequentially from key frame ``start`` up to the first that fails."""
        times, done = index.pts[list(indices)].tolist(), 0
        skips = index.can_skip and start == index.key_number(indices[0])
        gops = index.wanted_in_gops(indices) if skips else None
        first = int(index.keys[start])
        keys = list(gops or [first])  # at which decoding begins anew
        begun = int(start == 0)  # number of them; the first one of the file is where a plain decode begins
        self._fault = "the decoder does not deliver it"
        try:
            self._container.seek(first, stream=self._stream)
        except av.FFmpegError:
            return
        for frame, fault in self._decode(only=frozenset(times), gops=gops):
            if frame.pts is None or frame.pts < first:
                continue  # leading pictures: they may be predicted from the GOP that was skipped
            if begun < len(keys) and frame.pts >= keys[begun]:
                if frame.pts != keys[begun] or not frame.key_frame:
                    return  # the seek went too far, or it is intra refresh: frames that look right need not be
                begun += 1
            if frame.pts >= times[done]:
                if frame.pts > times[done] or fault:
                    self._fault = fault or self._fault
                    return
                yield frame
                done += 1
                if done == len(times):
                    return

    def _by_counting(self, indices: Sequence[int]) -> Iterator[VideoFrame]:
        """Yield the frames at ascending indices, identified by counting from the first frame of the file."""
        done = 0
        times: list[float] = []
        for frame, fault in self._from_the_start():
            if len(times) == indices[done]:
                if fault:
                    raise self._undecodable(indices[done], fault)
                yield frame
                done += 1
                if done == len(indices):
                    return
            times.append(_time(frame))
        self._keep_count(times)
        self.check_range(indices)

    def _keep_count(self, times: list[float]) -> None:
        self.file.counted = np.array(times)
        VIDEO_INFO_CACHE.put(self._identity, self.file)

    def _from_the_start(self) -> Iterator[tuple[VideoFrame, str]]:
        """What `_decode` gives for the whole stream of the file opened anew, at least one frame: no seek is trusted."""
        self.close()
        self._open(probe=True)
        frame = None
        for frame, fault in self._decode():
            yield frame, fault
        if frame is None:
            hint = container.HINT_WEBP if self.file.demuxer == "webp_pipe" else container.HINT_REENCODE
            raise container.unreadable(self.path, ValueError("the decoder delivers not one frame"), hint)

    def _decode(
        self, only: Collection[int | None] | None = None, gops: Mapping[int, int] | None = None
    ) -> Iterator[tuple[VideoFrame, str]]:
        """(frame, fault) for every frame delivered; `fault` says why its pixels may be wrong, "" where they are right.

        `only`: presentation times of the wanted frames; others that no frame is predicted from are not decoded, and
        none that is stored after the last of them. `gops`: number of wanted frames by the time of the key frame at
        which decoding begins anew; packets between the last of them and the next such key frame are not decoded.
        """
        decoder, fault = self._stream.codec_context, ""
        decoder.open(
            strict=False
        )  # before skip_frame is set: dav1d (AV1) would keep its first value for the whole file
        missing = len(only) if only is not None else math.inf
        missing_in_gop = 0 if gops else math.inf
        packets = self._container.demux(self._stream)
        while missing:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                raise container.unreadable(self.path, error) from error
            if packet is None:
                return
            if gops and packet.is_keyframe and packet.pts is not None and packet.pts in gops:
                missing_in_gop = gops[packet.pts]
            elif not missing_in_gop and packet.pts is not None and not packet.has_sidedata("new_extradata"):
                continue  # the last packet, which has no time, and new settings of the decoder are needed
            wanted = only is None or packet.pts in only
            decoder.skip_frame = "DEFAULT" if wanted else "NONREF"
            try:
                frames = packet.decode()
                missing -= wanted
                missing_in_gop -= wanted
                if not missing:
                    frames += decoder.decode(None)  # what it holds back: the seek after it starts the decoder anew
            except av.FFmpegError as error:
                fault = f"the stream is damaged at or before it: {container.reason_of(error)}"
                self.decode_error = container.reason_of(error)
                continue
            for frame in frames:
                self.decoded += 1
                self.file.coded.add((frame.width, frame.height, frame.interlaced_frame))
                if frame.is_corrupt:
                    fault = "the decoder marks it, or one it is predicted from, as damaged"
                elif frame.key_frame:
                    fault = ""  # damage ends where prediction starts afresh
                yield frame, fault

    def _frame_size(self) -> tuple[int, int]:
        if self.file.size is None:
            index = self._index
            self._measure(next(self._from_the_start())[0] if index is None else next(self._by_seeking(index, [0])))
        assert self.file.size is not None
        return self.file.size

    def _measure(self, frame: VideoFrame) -> None:
        """Once a file: PyAV 18 keeps some bytes for ever whenever it is asked for the side data of a frame."""
        matrix = self.file.display_matrix = display_matrix(frame)
        if is_oblique(matrix):
            logger.warning(
                "%s: the display matrix is not a rotation by a multiple of 90 degrees; the frames are not rotated",
                self.path,
            )
        height, width = apply_display_matrix(np.empty((frame.height, frame.width), np.uint8), matrix).shape
        self.file.size = height, width

    def _undecodable(self, frame_index: int, reason: str, hint: str = container.HINT_REENCODE) -> UserError:
        decoder = f"PyAV {av.__version__}, {self._stream.codec_context.name}"
        return UserError(f"{self.path}: frame {frame_index} cannot be decoded ({decoder}): {reason}. {hint}")


def _time(frame: VideoFrame) -> float:
    """Seconds, NaN where the frame has no time."""
    return frame.time if frame.time is not None else math.nan
