"""Videos taken apart into JPEG files, one a frame, as ``data=raw_frames`` reads them; and into optical flow."""

from __future__ import annotations

import functools
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vexp.core.errors import UserError
from vexp.core.files import atomic_directory
from vexp.data.decoding.frame_folder import FLOW_AXES
from vexp.data.sources.raw_frames import TEMPLATES
from vexp.tools.dataset.conversion import Conversion, Job
from vexp.tools.dataset.reencode import even_size

if TYPE_CHECKING:
    from vexp.data.decoding.pyav import VideoReader

RECORD = ".frames.json"
"""In a folder of frames: of which file, by size and time, it was made, and how many frames there are."""

FLOW_METHODS = ("dis", "farneback", "tvl1")

Image = tuple[tuple[str, ...], NDArray[np.uint8]]
"""What stands in a file's name before its number ("x" or "y" of flow), and its pixels: RGB (H, W, 3) or grey (H, W)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameExtraction(Conversion):
    """A folder of JPEG files for each video.

    ``filename_tmpl``, ``start_index``: as in ``data=raw_frames``. ``quality``: JPEG's, 1..100. ``short_side``: pixels,
    smaller pictures keep their size; None: as they are.
    """

    filename_tmpl: str
    start_index: int = 1
    quality: int = 95
    short_side: int | None = None

    def target_name(self, name: str) -> str:
        return str(Path(name).with_suffix(""))

    def is_done(self, job: Job) -> bool:
        record = _record(job.target)
        return record is not None and record["source"] == _identity(job.source)

    def total_frames(self, target: Path) -> int | None:
        record = _record(target)
        return int(record["frames"]) if record is not None else None

    def __call__(self, job: Job) -> int:
        from vexp.data.decoding.pyav import VideoReader

        identity, count = _identity(job.source), 0
        with atomic_directory(job.target) as folder, VideoReader(job.source) as reader:
            for count, images in enumerate(self.images(reader), 1):
                for words, picture in images:
                    name = self.filename_tmpl.format(*words, self.start_index + count - 1)
                    (folder / name).write_bytes(_jpeg(picture, self.quality))
            if not count:
                raise UserError(f"{job.source}: has one frame; optical flow needs two")
            (folder / RECORD).write_text(json.dumps({"source": identity, "frames": count}) + "\n")
        return count

    @abstractmethod
    def images(self, reader: VideoReader) -> Iterator[list[Image]]:
        """The files of each frame."""

    def pictures(self, reader: VideoReader) -> Iterator[NDArray[np.uint8]]:
        """Every frame in the wanted size, uint8 (H, W, 3) RGB."""
        import cv2

        cv2.setNumThreads(1)  # the processes are the parallelism
        shape = None
        for number, picture in enumerate(reader.iter_valid_rgb_frames()):
            if picture.shape != (shape or picture.shape):
                raise UserError(f"{reader.path}: its frame {number} has another size than its first")
            shape = picture.shape
            size = even_size(shape[1], shape[0], self.short_side)
            if self.short_side is None or min(shape[:2]) <= self.short_side:
                yield np.ascontiguousarray(picture)
            else:
                yield np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractFrames(FrameExtraction):
    """Every frame, as the reader of training gives it, but for what JPEG loses."""

    filename_tmpl: str = TEMPLATES["RGB"]

    def images(self, reader: VideoReader) -> Iterator[list[Image]]:
        return ([((), picture)] for picture in self.pictures(reader))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractFlow(FrameExtraction):
    """Optical flow from each frame to the next, by OpenCV: n - 1 pairs of grey images of n frames.

    A displacement of -bound..bound pixels becomes 0..255, beyond is clipped, as denseflow and mmaction2 have it; 127.5
    is none. ``method``: "dis" (Kroeger et al., Fast Optical Flow using Dense Inverse Search, 2016), "farneback"
    (Farnebäck, 2003), or "tvl1" (Zach et al., 2007; what the published two-stream results were made with).
    """

    filename_tmpl: str = TEMPLATES["Flow"]
    method: str = "dis"
    bound: float = 20.0

    def images(self, reader: VideoReader) -> Iterator[list[Image]]:
        import cv2

        flow_of = flow_method(self.method)
        grey = (np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) for picture in self.pictures(reader))
        for before, after in pairwise(grey):
            flow = quantised(flow_of(before, after), self.bound)
            yield [((axis,), flow[..., channel]) for channel, axis in enumerate(FLOW_AXES)]


def flow_method(name: str) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]:
    """From one uint8 (H, W) picture to another: float32 (H, W, 2), displacement in pixels to the right and down.

    Raises:
        UserError: this OpenCV does not have it.
    """
    import cv2

    opencv: Any = cv2  # its stubs know neither the contributed modules nor that an output may be None
    if name == "farneback":
        settings = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2}
        return functools.partial(opencv.calcOpticalFlowFarneback, flow=None, flags=0, **settings)
    if name == "dis":
        method = opencv.DISOpticalFlow.create(opencv.DISOPTICAL_FLOW_PRESET_MEDIUM)
    elif hasattr(cv2, "optflow"):
        method = opencv.optflow.DualTVL1OpticalFlow_create()
    else:
        raise UserError(
            "--method tvl1: TV-L1 is one of OpenCV's contributed modules: pip uninstall opencv-python-headless, pip "
            "install opencv-contrib-python-headless; or take --method dis"
        )
    return functools.partial(method.calc, flow=None)


def quantised(flow: NDArray[np.float32], bound: float) -> NDArray[np.uint8]:
    """-bound..bound pixels as 0..255, what lies beyond as the nearest of them: uint8 of the same shape."""
    levels: NDArray[np.uint8] = np.rint(np.clip((flow + bound) * (255 / (2 * bound)), 0, 255)).astype(np.uint8)
    return levels


def check_template(template: str, *, flow: bool) -> None:
    """Raises:
    UserError: it does not give every file a name of its own, of a JPEG, within the folder.
    """
    words = [[axis] for axis in FLOW_AXES] if flow else [[]]
    example = TEMPLATES["Flow" if flow else "RGB"]
    try:
        names = {template.format(*axis, number) for axis in words for number in (1, 2)}
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"--filename-tmpl {template}: {error}; an example: {example}") from None
    if len(names) < 2 * len(words):
        raise UserError(f"--filename-tmpl {template}: gives two files the same name; an example: {example}")
    if any(Path(name).name != name or Path(name).suffix.lower() not in (".jpg", ".jpeg") for name in names):
        raise UserError(f"--filename-tmpl {template}: must name .jpg files, without a folder; an example: {example}")


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    import simplejpeg

    if picture.ndim == 2:
        grey = np.ascontiguousarray(picture[..., None])
        return bytes(simplejpeg.encode_jpeg(grey, quality=quality, colorspace="GRAY", colorsubsampling="Gray"))
    return bytes(simplejpeg.encode_jpeg(picture, quality=quality, colorspace="RGB", colorsubsampling="420"))


def _identity(source: Path) -> list[int]:
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return record if {"source", "frames"} <= record.keys() else None
    except (OSError, ValueError, AttributeError):
        return None
