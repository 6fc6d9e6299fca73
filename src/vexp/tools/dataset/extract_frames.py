"""Extract the frames of videos, or their optical flow, as JPEG files for ``data=raw_frames``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.core.files import atomic_directory
from vexp.data.decoding.frame_folder import FLOW_AXES
from vexp.data.decoding.proxy_encoding import even_size
from vexp.data.sources.raw_frames import TEMPLATES
from vexp.tools.dataset.conversion import Conversion, Job

if TYPE_CHECKING:
    from vexp.data.decoding.pyav import VideoReader

#: File in a folder of frames with the size and time of its source and the number of frames.
RECORD = ".frames.json"

FLOW_METHODS = ("dis", "farneback", "tvl1")

#: Arguments of the file name template before the frame number ("x" or "y" for flow), and an RGB or grey image.
Image = tuple[tuple[str, ...], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractFrames(Conversion):
    """Convert a video to a folder of JPEG files, named as in ``data=raw_frames``: every frame as training reads it."""

    filename_tmpl: str = TEMPLATES["RGB"]
    start_index: int = 1
    quality: int = 95  # of JPEG, 1..100
    short_side: int | None = None  # pixels, never enlarged; None keeps the size

    def target_name(self, name: str) -> str:
        return str(Path(name).with_suffix(""))

    def is_done(self, job: Job) -> bool:
        return _record(job.target).get("source") == _identity(job.source)

    def total_frames(self, target: Path) -> int | None:
        return _record(target).get("frames")

    def __call__(self, job: Job) -> int:
        from vexp.data.decoding.pyav import VideoReader

        identity, count = _identity(job.source), 0
        with atomic_directory(job.target) as folder, VideoReader(job.source) as reader:
            for count, images in enumerate(self.images(reader), 1):
                for axes, image in images:
                    name = self.filename_tmpl.format(*axes, self.start_index + count - 1)
                    (folder / name).write_bytes(_encode_jpeg(image, self.quality))
            if not count:
                raise UserError(f"{job.source}: the video has one frame; optical flow needs two")
            (folder / RECORD).write_text(json.dumps({"source": identity, "frames": count}) + "\n")
        return count

    def images(self, reader: VideoReader) -> Iterator[list[Image]]:
        """Yield the images of each frame."""
        return ([((), frame)] for frame in self.frames(reader))

    def frames(self, reader: VideoReader) -> Iterator[NDArray[np.uint8]]:
        """Yield every frame, resized, uint8 (H, W, 3) RGB."""
        import cv2

        cv2.setNumThreads(1)  # the workers already use all cores
        shape = None
        for number, frame in enumerate(reader.iter_valid_rgb_frames()):
            shape = shape or frame.shape
            if frame.shape != shape:
                raise UserError(f"{reader.path}: frame {number} has a different size than the first")
            if self.short_side is not None and min(shape[:2]) > self.short_side:
                size = even_size(shape[1], shape[0], self.short_side)
                frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
            yield np.ascontiguousarray(frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractFlow(ExtractFrames):
    """Extract the optical flow from each frame to the next with OpenCV: n - 1 pairs of grey images for n frames.

    Displacements of -bound..bound pixels map to 0..255 and larger ones are clipped, as in denseflow and mmaction2;
    127.5 is no motion. ``method``: "dis" (Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016),
    "farneback" (Farnebäck, 2003), or "tvl1" (Zach et al., 2007; used for the published two-stream results).
    """

    filename_tmpl: str = TEMPLATES["Flow"]
    method: str = "dis"
    bound: float = 20.0

    def images(self, reader: VideoReader) -> Iterator[list[Image]]:
        import cv2

        flow_of = flow_method(self.method)
        grey = (np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in self.frames(reader))
        for before, after in pairwise(grey):
            flow = quantize_flow(flow_of(before, after), self.bound)
            yield [((axis,), flow[..., channel]) for channel, axis in enumerate(FLOW_AXES)]


def flow_method(name: str) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a function of two uint8 (H, W) images that computes the displacement in pixels (x, y), float32 (H, W, 2).

    Raises:
        UserError: If the installed OpenCV does not have the method.
    """
    import cv2

    opencv: Any = cv2  # its stubs lack the contributed modules and optional outputs
    if name == "farneback":
        settings = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2}
        return functools.partial(opencv.calcOpticalFlowFarneback, flow=None, flags=0, **settings)
    if name == "dis":
        method = opencv.DISOpticalFlow.create(opencv.DISOPTICAL_FLOW_PRESET_MEDIUM)
    elif hasattr(cv2, "optflow"):
        method = opencv.optflow.DualTVL1OpticalFlow_create()
    else:
        raise UserError(
            "--method tvl1: needs OpenCV's contributed modules (pip uninstall opencv-python-headless, pip install "
            "opencv-contrib-python-headless); or use --method dis"
        )
    return functools.partial(method.calc, flow=None)


def quantize_flow(flow: NDArray[np.float32], bound: float) -> NDArray[np.uint8]:
    """Map -bound..bound pixels to 0..255 and clip larger values: uint8 of the same shape."""
    levels: NDArray[np.uint8] = np.rint(np.clip((flow + bound) * (255 / (2 * bound)), 0, 255)).astype(np.uint8)
    return levels


def check_template(template: str, *, flow: bool) -> None:
    """Raise UserError unless a file name template produces a different JPEG file name for every frame."""
    axes = [[axis] for axis in FLOW_AXES] if flow else [[]]
    problem = ""
    try:
        names = {template.format(*axis, number) for axis in axes for number in (1, 2)}
        if len(names) < 2 * len(axes):
            problem = "gives two files the same name"
        elif any(Path(name).name != name or Path(name).suffix.lower() not in (".jpg", ".jpeg") for name in names):
            problem = "must name .jpg files, without a folder"
    except (ValueError, IndexError, KeyError) as error:
        problem = str(error)
    if problem:
        example = TEMPLATES["Flow" if flow else "RGB"]
        raise UserError(f"--filename-tmpl {template}: {problem}; for example: {example}")


def _encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    import simplejpeg

    if image.ndim == 2:
        image, colors = np.ascontiguousarray(image[..., None]), {"colorspace": "GRAY", "colorsubsampling": "Gray"}
    else:
        colors = {"colorspace": "RGB", "colorsubsampling": "420"}
    return bytes(simplejpeg.encode_jpeg(image, quality=quality, **colors))


def _identity(source: Path) -> list[int]:
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _record(folder: Path) -> dict[str, Any]:
    """Return the record of a folder of frames; empty if there is none, or it is damaged."""
    with suppress(OSError, ValueError, AttributeError):
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if {"source", "frames"} <= record.keys() else {}
    return {}
