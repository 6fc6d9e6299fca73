"""Create the media of scripts/bench/data.py: a generated scene or a given video, as a video file or as JPEG images."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_RATE = 30
JPEG_QUALITY = 60
"""About 18 KB per frame of 340x256, as with ffmpeg -q:v 2 for a video of Kinetics: the scene has more detail."""


class Scene:
    """A panned, slowly zoomed texture with objects that cross it, and a little sensor noise.

    It compresses like a video of Kinetics: 10 s at 340x256 and crf 23 take 0.8 MB.
    """

    def __init__(self, width: int, height: int, frames: int) -> None:
        import cv2

        self.size, self.frames = (width, height), frames
        self._rng = np.random.default_rng(0)
        self._texture = np.clip(self._octaves(2 * width, 2 * height) * 45 + 120, 0, 255).astype(np.uint8)
        small = width // 4, height // 3
        self._objects = [
            (self._rng.random((4, 2)), np.clip(self._octaves(*small) * 60 + 128, 0, 255).astype(np.uint8))
            for _ in range(4)
        ]
        grain = self._rng.normal(0, 2.0, (8, height, width, 1)).repeat(3, axis=3)
        self._grain = [np.clip(128 + noise, 0, 255).astype(np.uint8) for noise in grain]
        self._cv2 = cv2

    def _octaves(self, width: int, height: int) -> NDArray[np.float32]:
        """Noise with as much contrast at every size, float32 (height, width, 3)."""
        import cv2

        total = np.zeros((height, width, 3), np.float32)
        for cells in (4, 16, 64, 160):
            coarse = self._rng.normal(0, 0.5, (cells, cells, 3)).astype(np.float32)
            total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return total

    def frame(self, number: int) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""
        cv2, (width, height) = self._cv2, self.size
        phase = 2 * np.pi * number / self.frames
        zoom = 1.1 + 0.1 * np.sin(3 * phase)
        x, y = width * (0.4 + 0.35 * np.sin(phase)), height * (0.4 + 0.3 * np.cos(2 * phase))
        camera = np.array([[zoom, 0, x], [0, zoom, y]])
        image = cv2.warpAffine(self._texture, camera, self.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        for path, thing in self._objects:
            place = path[0] + 0.5 * np.sin(phase * (1 + 3 * path[1]) + 6 * path[2])
            left = int(np.clip(place[0], 0, 1) * (width - thing.shape[1]))
            top = int(np.clip(place[1], 0, 1) * (height - thing.shape[0]))
            image[top : top + thing.shape[0], left : left + thing.shape[1]] = thing
        noise = self._grain[number % len(self._grain)]
        grainy: NDArray[np.uint8] = cv2.addWeighted(image, 1.0, noise, 1.0, -128)
        return grainy


class GivenVideo:
    """The frames of a video file at another size, forward and backward in alternation until there are enough."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        import av

        with av.open(str(path)) as source:
            self._frames = [
                frame.reformat(width, height, "rgb24", interpolation="BICUBIC").to_ndarray()
                for frame in source.decode(video=0)
            ]

    def frame(self, number: int) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB."""
        there_and_back = number % max(1, 2 * len(self._frames) - 2)
        return self._frames[min(there_and_back, 2 * len(self._frames) - 2 - there_and_back)]


def video(folder: Path, size: tuple[int, int], gop: int, frames: int, given: Path | None) -> Path:
    """Encode the scene or the given video as H.264 in MP4 with x264's defaults, unless the file exists."""
    import av

    path = folder / f"{given.stem if given else 'scene'}_{size[0]}x{size[1]}_gop{gop}_{frames}.mp4"
    if path.exists():
        return path
    scene = GivenVideo(given, *size) if given else Scene(*size, frames)
    part = path.with_suffix(f".{os.getpid()}.part")
    with av.open(str(part), "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=FRAME_RATE, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.time_base = gop, Fraction(1, FRAME_RATE)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(scene.frame(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    part.replace(path)
    return path


def raw_frames(folder: Path, size: tuple[int, int], frames: int, given: Path | None) -> Path:
    """Write the frames of the video with GOP 250 as JPEG images, img_00001.jpg ..., unless they exist."""
    import av
    import simplejpeg

    original = video(folder, size, 250, frames, given)
    path = folder / f"{original.stem}_{frames}_frames"
    if path.exists():
        return path
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.mkdir()
    with av.open(str(original)) as source:
        for number, frame in enumerate(source.decode(video=0), start=1):
            content = simplejpeg.encode_jpeg(frame.to_ndarray(format="rgb24"), JPEG_QUALITY, colorsubsampling="420")
            (part / f"img_{number:05}.jpg").write_bytes(content)
    part.replace(path)
    return path


def frames_and_size(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the number of frames and (width, height) of a video or of a folder of JPEG images."""
    import cv2

    if path.is_dir():
        names = sorted(path.glob("img_*.jpg"))
        height, width = cv2.imread(str(names[0])).shape[:2]
        return len(names), (width, height)
    from vexp.data.decoding.pyav import VideoReader

    with VideoReader(path) as reader:
        return reader.num_frames, (reader.width, reader.height)


def many(path: Path, count: int) -> list[Path]:
    """Create ``count`` names of one file or folder, so that no cache by file name has it."""
    folder = path.with_name(f"{path.name}.names")
    folder.mkdir(exist_ok=True)
    names = [folder / f"{number:05}{path.suffix}" for number in range(count)]
    beside = path.with_name(f"{path.name}.index")  # what vexp saves with a proxy
    for name in names:
        if not name.is_symlink():
            name.symlink_to(path)
            if beside.exists():
                name.with_name(f"{name.name}.index").symlink_to(beside)
    return names
