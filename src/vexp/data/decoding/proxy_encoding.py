"""Re-encode videos as proxies: smaller copies with faster random access for training.

Frame n of a proxy shows frame n of its original at the same time. Audio is dropped, rotation is applied, and frames
are never enlarged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vexp.core.errors import UserError
from vexp.core.files import atomic_write
from vexp.core.lazy import np

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream

#: Time units per second in a proxy, as in MPEG; Matroska stores milliseconds.
TICKS = 90_000


@dataclass(frozen=True, slots=True)
class ProxyEncoding:
    """Encoding of proxies; ``quality`` is the CRF of x264 or the quantizer of MJPEG, where lower is better."""

    suffix: str
    container: str
    codec: str
    pix_fmt: str
    quality: int
    gop: int
    short_side: int = 256

    @property
    def options(self) -> dict[str, str]:
        """Options of the encoder."""
        if self.codec == "mjpeg":
            lambda_per_quantizer = 118  # FF_QP2LAMBDA
            return {"flags": "+qscale", "global_quality": str(self.quality * lambda_per_quantizer)}
        return {"crf": str(self.quality), "preset": "medium"}

    def write(self, original: Path, proxy: Path) -> int:
        """Write the proxy of a video atomically and return the number of frames.

        Equal videos have equal MJPEG proxies; x264 does not write the same bytes twice.

        Raises:
            UserError: If the video cannot be read.
            OSError: If the proxy cannot be written.
        """
        from vexp.data.decoding.index_file import index_path, save_index
        from vexp.data.decoding.pyav import VideoReader

        with VideoReader(original) as reader:
            num_frames, times = reader.num_frames, reader.times
            if times is None:
                raise UserError(f"{original}: the times of its frames are unknown")
            with atomic_write(proxy) as part:
                ticks = np.round(times * TICKS).astype(np.int64)
                _write(part, _convert_frames(reader.iter_valid_frames(), self), ticks, self)
                with VideoReader(part) as written:
                    if written.num_frames != num_frames:
                        text = f"has {num_frames} frames, but its proxy {written.num_frames}; the proxy was deleted"
                        raise UserError(f"{original}: {text}")
                    # An index speeds up reading large files, of which only few frames are read.
                    if self.codec == "mjpeg":
                        with atomic_write(index_path(proxy)) as index:  # replaced first: it identifies the proxy
                            save_index(part, written.file, index)
        return num_frames


H264 = ProxyEncoding(".mp4", "mp4", "libx264", "yuv420p", quality=20, gop=12)
MJPEG = ProxyEncoding(".mkv", "matroska", "mjpeg", "yuvj420p", quality=3, gop=1)


def times_path(proxy: Path) -> Path:
    """Return the path of the file with the times of a proxy's original."""
    return proxy.with_name(f"{proxy.name}.times.npy")


def _convert_frames(frames: Iterable[VideoFrame], encoding: ProxyEncoding) -> Iterator[VideoFrame]:
    """Convert frames to the size, orientation and pixel format of the proxy."""
    import av
    from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

    from vexp.data.decoding.color import RgbConverter, apply_display_matrix, display_matrix, is_rotated

    reformatter, to_rgb = VideoReformatter(), RgbConverter()
    is_jpeg = encoding.codec == "mjpeg"
    color = {"dst_colorspace": Colorspace.ITU601, "dst_color_range": ColorRange.JPEG} if is_jpeg else {}
    for frame in frames:
        matrix, upright = display_matrix(frame), frame
        if is_rotated(matrix):
            rgb = np.ascontiguousarray(apply_display_matrix(to_rgb(frame), matrix))
            upright = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        width, height = even_size(upright.width, upright.height, encoding.short_side)
        yield reformatter.reformat(upright, width, height, encoding.pix_fmt, interpolation="AREA", threads=1, **color)


def even_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return (width, height) with this short side, even as chroma subsampling requires, and never enlarged."""
    factor = min(1.0, short_side / min(width, height)) if short_side else 1.0
    return max(2, 2 * round(width * factor / 2)), max(2, 2 * round(height * factor / 2))


def _write(path: Path, frames: Iterable[VideoFrame], ticks: Any, encoding: ProxyEncoding) -> None:
    import av

    size: tuple[int, int] | None = None
    stream: VideoStream | None = None
    reproducible = {"fflags": "+bitexact"}  # a Matroska file has a random identifier without it
    with av.open(f"file:{path}", "w", format=encoding.container, options=reproducible) as output:
        for number, frame in enumerate(frames):
            if stream is None:
                size = frame.width, frame.height
                stream = cast("VideoStream", output.add_stream(encoding.codec, options=encoding.options))
                stream.width, stream.height, stream.pix_fmt = *size, encoding.pix_fmt
                coder = stream.codec_context
                coder.gop_size, coder.thread_count, coder.time_base = encoding.gop, 1, Fraction(1, TICKS)
                seconds = (ticks[-1] - ticks[0]) / TICKS
                rate = (len(ticks) - 1) / seconds if seconds > 0 else 25
                coder.framerate = Fraction(rate).limit_denominator(1001)
                coder.color_range, coder.colorspace = frame.color_range, frame.colorspace
            if (frame.width, frame.height) != size:
                raise UserError(f"frame {number} has a different size than the first")
            if number >= len(ticks):
                raise UserError(f"more than the {len(ticks)} frames of its index can be decoded")
            frame.pts, frame.time_base, frame.pict_type = int(ticks[number]), Fraction(1, TICKS), 0
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))
